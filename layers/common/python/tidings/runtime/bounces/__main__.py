"""Takes bounces and complaints.

`python -m tidings.runtime.bounces listen`: by LMTP or SMTP, from a mail server.
`python -m tidings.runtime.bounces poll`: from a mailbox, by IMAP.
"""

import argparse
import sys


def main() -> int:
    options = _options()
    try:
        from tidings.runtime.bounces.process import run
    except ModuleNotFoundError as error:
        print(f"tidings: bounces: the package {error.name} is missing; install tidings[bounces]", file=sys.stderr)
        return 2
    return run(options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tidings.runtime.bounces", description="Takes bounces.")
    how = parser.add_subparsers(dest="how", required=True)
    listen = how.add_parser("listen", help="by LMTP or SMTP, from a mail server")
    listen.add_argument("--port", type=int, default=2424, help="default 2424; 0: any free port")
    poll = how.add_parser("poll", help="from a mailbox, by IMAP")
    poll.add_argument("--every", type=float, default=60.0, metavar="SECONDS", help="default 60")
    poll.add_argument(
        "--once", action="store_true", help="read the mailbox once, for a schedule; exit code 1: it failed"
    )
    for one in (listen, poll):
        one.add_argument("--host", default="127.0.0.1", help="the address to listen on (default 127.0.0.1)")
        one.add_argument("--status-port", type=int, metavar="PORT", help="answer GET /healthz and /metrics here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
