"""One function's start: `python -m tests.load.cold NAME` imports it, and prints the time. Without a name: Python
alone."""

import importlib
import json
import resource
import sys
import time


def main() -> None:
    for name in sys.argv[1:]:
        importlib.import_module(f"functions.{name}.main")  # which reads its settings and builds its parts
    ended, used = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"ended": ended, "cpu": used.ru_utime + used.ru_stime, "modules": sorted(sys.modules)}))


if __name__ == "__main__":
    main()
