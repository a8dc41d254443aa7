"""The schedule: `python -m tidings.runtime.scheduler URL --every SECONDS` runs the sweep by POSTing to it."""

import argparse
import http.client
import os
import signal
import sys
import threading
import time
import urllib.request

from tidings.domain.timing import SWEEP_TIMEOUT


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="http://127.0.0.1:8081/v1/sweep")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument(
        "--for", dest="duration", type=float, metavar="SECONDS", help="end after so long, with 1 if the last one failed"
    )
    options = parser.parse_args()
    key = os.environ.get("TIDINGS_API_KEY")
    if not key:
        print("tidings: scheduler: TIDINGS_API_KEY is not set (a key with the scope operate)", file=sys.stderr)
        return 2
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    end = time.monotonic() + options.duration if options.duration is not None else float("inf")
    failing = False
    while time.monotonic() < end and not stopping.wait(options.every):
        problem = _sweep(options.url, key)
        if problem is not None and not failing:  # at the first failure only, not every second
            print(f"tidings: scheduler: the sweep fails: {problem}", file=sys.stderr, flush=True)
        failing = problem is not None
    return 1 if failing and options.duration is not None else 0


def _sweep(url: str, key: str) -> str | None:
    """The error, or None."""
    request = urllib.request.Request(url, data=b"{}", method="POST", headers={"authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=SWEEP_TIMEOUT.total_seconds()) as answer:
            answer.read()
    except (OSError, http.client.HTTPException) as error:  # URLError, or the function died while it answered
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    sys.exit(main())
