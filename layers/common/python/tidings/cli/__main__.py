"""`python -m tidings.cli`."""

import sys

from tidings.cli import main

if __name__ == "__main__":
    sys.exit(main())
