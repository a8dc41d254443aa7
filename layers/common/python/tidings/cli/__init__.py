"""The command line: `tidings`. All but `doctor` talks HTTP, so it needs a key and no right to the database."""

import os
import sys
from collections.abc import Sequence

from tidings.cli.exit_codes import INTERRUPTED, USAGE, Failed, Usage
from tidings.cli.parser import parser
from tidings.domain.errors import ConfigurationError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    options = parser().parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
        return int(code or 0)
    except Failed as failed:
        print(f"tidings: {failed}", file=sys.stderr)
        return failed.code
    except (Usage, ConfigurationError) as error:
        print(f"tidings: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # `| head` has seen enough; keep the interpreter from flushing again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
