"""Takes bounces and complaints.

`python -m tidings.runtime.bounces listen`: by LMTP or SMTP, from a mail server.
`python -m tidings.runtime.bounces poll`: from a mailbox, by IMAP.
"""

import argparse
import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from tidings.config.certificates import CaFile
from tidings.config.settings import Settings, load
from tidings.domain.errors import ConfigurationError
from tidings.observability import logging as tidings_logging
from tidings.providers.smtp.receipts import from_settings
from tidings.runtime.bounces.mailbox import Mailbox, account
from tidings.runtime.bounces.mailroom import Mailroom
from tidings.runtime.bounces.poller import Poller
from tidings.runtime.container import Container, build_container, utc_now


def _is_account(url: str) -> str:
    account(url)
    return url


class ImapSettings(Settings):
    """The mailbox to which bounces come."""

    prefix: ClassVar[str] = "TIDINGS_IMAP_"

    url: Annotated[
        str,
        AfterValidator(_is_account),
        Field(
            repr=False,
            description="the mailbox to which bounces come, and nothing else: it is emptied. imaps:// TLS,"
            " imap+starttls:// STARTTLS or nothing, imap:// in the clear; user:password@host[:port][/folder]",
        ),
    ]
    ca_file: CaFile = None


def main() -> int:
    options = _options()
    tidings_logging.configure("bounces", load(tidings_logging.LogSettings))
    try:
        container = build_container()
        mailroom = Mailroom(parser=from_settings(), receipts=container.receipts(), kept=container.returned_mails())
        run = _listener(mailroom, options.host, options.port) if options.how == "listen" else _poller(mailroom, options)
    except (ConfigurationError, OSError) as error:
        print(f"tidings: bounces: {error}", file=sys.stderr)
        return 2
    return _run(run, container)


def _run(run: Callable[[], None], container: Container) -> int:
    try:
        run()
    finally:
        container.close()
    return 0


def _listener(mailroom: Mailroom, host: str, port: int) -> Callable[[], None]:
    """Raise ConfigurationError if aiosmtpd is missing, OSError if the port is taken."""
    try:
        from tidings.runtime.bounces.listener import listen
    except ModuleNotFoundError:
        raise ConfigurationError("a package is missing; install tidings[bounces]") from None
    listening = socket.create_server((host, port), backlog=200)

    async def serve() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        print(f"lmtp://{host}:{listening.getsockname()[1]}", flush=True)
        await listen(mailroom, listening, now=utc_now, stopping=stopping)

    return lambda: asyncio.run(serve())


def _poller(mailroom: Mailroom, options: argparse.Namespace) -> Callable[[], None]:
    settings = load(ImapSettings)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    opened = partial(Mailbox, account(settings.url), ca_file=settings.ca_file)
    return partial(Poller(mailroom=mailroom, open=opened, now=utc_now, every=options.every).run, stopping)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tidings.runtime.bounces", description="Takes bounces.")
    how = parser.add_subparsers(dest="how", required=True)
    listen = how.add_parser("listen", help="by LMTP or SMTP, from a mail server")
    listen.add_argument("--host", default="127.0.0.1", help="the address to listen on (default 127.0.0.1)")
    listen.add_argument("--port", type=int, default=2424, help="default 2424; 0: any free port")
    poll = how.add_parser("poll", help="from a mailbox, by IMAP")
    poll.add_argument("--every", type=float, default=60.0, metavar="SECONDS", help="default 60")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
