"""A process that takes bounces: from the settings and the command line to a listener or a poller that runs."""

import argparse
import asyncio
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from tidings.config.certificates import CaFile
from tidings.config.settings import Settings, load
from tidings.domain.errors import ConfigurationError
from tidings.observability import logging as tidings_logging
from tidings.observability.gauges import Gauges
from tidings.observability.metrics import BOUNCES_UP, MAILBOX_READ, Gauge
from tidings.observability.observers import Observers
from tidings.providers.smtp.receipts import from_settings
from tidings.runtime.bounces.listener import listen
from tidings.runtime.bounces.mailbox import Mailbox, account
from tidings.runtime.bounces.mailroom import Mailroom
from tidings.runtime.bounces.poller import Poller
from tidings.runtime.bounces.status import Status, answering
from tidings.runtime.container import build_container, utc_now
from tidings.runtime.invocation import TriggerSettings


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
            " imap+starttls:// STARTTLS (required), imap:// in the clear; user:password@host[:port][/folder]",
        ),
    ]
    ca_file: CaFile = None


def run(options: argparse.Namespace) -> int:
    """The exit code."""
    tidings_logging.configure("bounces", load(tidings_logging.LogSettings))
    with ExitStack() as running:
        try:
            container = build_container()
            running.callback(container.close)
            running.callback(container.observers.flush)
            mailroom = Mailroom(
                parser=from_settings(),
                receipts=container.receipts(),
                kept=container.returned_mails(),
                observers=container.observers,
            )
            part = _listener(mailroom, options) if options.how == "listen" else _poller(mailroom, options)
            if options.status_port is not None:
                status = _status(container.observers, part.gauges)
                running.enter_context(answering(status, options.host, options.status_port))
        except (ConfigurationError, OSError) as error:
            print(f"tidings: bounces: {error}", file=sys.stderr)
            return 2
        return part.run()


@dataclass(frozen=True, kw_only=True)
class Part:
    """A listener or a poller. `run`: until a signal; the exit code."""

    run: Callable[[], int]
    gauges: Gauges


def _status(observers: Observers, gauges: Gauges) -> Status:
    """Raise ConfigurationError."""
    exposition = observers.exposition
    if exposition is None:
        return Status(metrics=None, admits=lambda _: False)
    admits = partial(load(TriggerSettings).admits, is_cloudevent=False)
    return Status(metrics=lambda: exposition(gauges()), admits=admits)


def _listener(mailroom: Mailroom, options: argparse.Namespace) -> Part:
    """Raise OSError if the port is taken."""
    listening = socket.create_server((options.host, options.port), backlog=200)

    async def serve() -> None:
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        print(f"lmtp://{options.host}:{listening.getsockname()[1]}", flush=True)
        await listen(mailroom, listening, now=utc_now, stopping=stopping)

    def run() -> int:
        asyncio.run(serve())
        return 0

    return Part(run=run, gauges=lambda: [_up("listen")])


def _poller(mailroom: Mailroom, options: argparse.Namespace) -> Part:
    """Raise ConfigurationError."""
    settings = load(ImapSettings)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    opened = partial(Mailbox, account(settings.url), ca_file=settings.ca_file)
    poller = Poller(mailroom=mailroom, open=opened, now=utc_now, every=options.every)
    started = utc_now()

    def run() -> int:
        return poller.run_once(stopping) if options.once else poller.run(stopping)

    def gauges() -> Sequence[Gauge]:
        read_at = poller.read_at or started
        return [_up("poll"), Gauge(metric=MAILBOX_READ, labels=(), value=read_at.timestamp())]

    return Part(run=run, gauges=gauges)


def _up(how: str) -> Gauge:
    return Gauge(metric=BOUNCES_UP, labels=(how,), value=1)
