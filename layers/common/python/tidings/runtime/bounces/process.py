"""A process that takes bounces: from the settings and the command line to a listener or a poller that runs."""

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
from tidings.runtime.bounces.listener import listen
from tidings.runtime.bounces.mailbox import Mailbox, account
from tidings.runtime.bounces.mailroom import Mailroom
from tidings.runtime.bounces.poller import Poller
from tidings.runtime.container import build_container, utc_now


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


def run(options: argparse.Namespace) -> int:
    """The exit code."""
    tidings_logging.configure("bounces", load(tidings_logging.LogSettings))
    try:
        container = build_container()
        mailroom = Mailroom(parser=from_settings(), receipts=container.receipts(), kept=container.returned_mails())
        part = (
            _listener(mailroom, options.host, options.port) if options.how == "listen" else _poller(mailroom, options)
        )
    except (ConfigurationError, OSError) as error:
        print(f"tidings: bounces: {error}", file=sys.stderr)
        return 2
    try:
        part()
    finally:
        container.close()
    return 0


def _listener(mailroom: Mailroom, host: str, port: int) -> Callable[[], None]:
    """Raise OSError if the port is taken."""
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
