"""The command `tidings`. All commands but `doctor` and `keys` call the HTTP API with an API key."""

import os
import sys
from collections.abc import Sequence

from tidings.cli.exit_codes import INTERRUPTED, USAGE, CommandFailed, UsageError
from tidings.domain.errors import ConfigurationError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    from tidings.cli.parser import parser  # here: `doctor` starts modules of this package that need none of it

    options = parser().parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
        return int(code or 0)
    except CommandFailed as failed:
        print(f"tidings: {failed}", file=sys.stderr)
        return failed.code
    except (UsageError, ConfigurationError) as error:
        print(f"tidings: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:  # `| head` has exited; keep the interpreter from flushing again on exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0
