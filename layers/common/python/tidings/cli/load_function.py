"""Load one function as its runtime does, and check its provider: `python -m tidings.cli.load_function FOLDER NAME`.

`tidings doctor` runs it as a process for each function, with the function's environment. A wrong setting ends it like
the function: with exit code 2 and one line on standard error. Else it prints the provider's answer as one JSON line.
"""

import importlib
import json
import sys
from pathlib import Path

from tidings.domain.errors import AccountError, DeliveryError
from tidings.ports import Checkable
from tidings.runtime.queue_function import QueueFunction


def main(folder: Path, name: str) -> int:
    sys.path.insert(0, str(folder.resolve().parent))
    module = importlib.import_module(f"{folder.name}.{name}.main")
    if not isinstance(module.function, QueueFunction):  # it has no provider
        print(json.dumps({"provider": None, "answer": None}))
        return 0
    provider = module.function.delivery.provider
    try:
        answer = provider.check() if isinstance(provider, Checkable) else None
        print(json.dumps({"provider": provider.name, "answer": answer}))
    except DeliveryError as error:
        is_account = isinstance(error, AccountError)
        print(json.dumps({"provider": provider.name, "error": f"{error.code}: {error.message}", "account": is_account}))
    finally:
        provider.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
