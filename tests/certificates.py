"""One certificate in place of the system's: OpenSSL reads those for each client anew, which takes 50 ms of CPU."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from local.emulators.certificate import self_signed

VARIABLE = "SSL_CERT_FILE"
"""OpenSSL and httpx read the certificates that they trust from the file that this names."""


@cache
def only_one() -> str:
    """Path of the file, of this process."""
    folder = Path(tempfile.mkdtemp(prefix="tidings-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(self_signed(folder)[0])
