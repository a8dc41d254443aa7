"""A mail server for return paths alone: LMTP and SMTP on one port, behind the mail server that has the MX record.

It answers 250 after the commit, 451 while the database is down (the relay keeps the mail), 550 5.1.1 for an address
that is no return path. It passes nothing on. One recipient a mail: LMTP and SMTP are then answered alike.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime

from aiosmtpd.smtp import SMTP, Envelope, Session, syntax

from tidings.domain.errors import StoreUnavailable
from tidings.pipeline.coalescer import Coalescer, Full
from tidings.providers.smtp.receipts import ReturnedMail, Verdict
from tidings.providers.smtp.reports import MAX_SIZE
from tidings.runtime.bounces.mailroom import Mailroom, NotTaken

CONNECTIONS = 200  # at once; each holds MAX_SIZE bytes at most
LONGEST = 64 * 1024 * 1024  # bytes of a mail; what follows the first MAX_SIZE is not kept
IDLE = 120.0  # seconds for a command, or a mail
DRAIN = 20.0  # seconds for the mails under way at the end
PURGE_EVERY = 3600.0  # seconds
BATCH, WAITING = 4 * 1024 * 1024, 64 * 1024 * 1024  # bytes: of a transaction, and of all mails that wait for theirs

LATER = "451 4.3.0 Try again later"
BUSY = "421 4.3.2 Too many connections"
NO_MAILBOX = "550 5.1.1 No return path"
ONE_ONLY = "452 4.5.3 One recipient at a time"


class Handler:
    """aiosmtpd's hooks. Each returns the reply line."""

    def __init__(self, mailroom: Mailroom, now: Callable[[], datetime]) -> None:
        self._mailroom = mailroom
        self._now = now
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="tidings-bounces")
        self._coalescer: Coalescer[ReturnedMail, Verdict | NotTaken] = Coalescer(
            mailroom.take, self._threads, limit=BATCH, waiting=WAITING, weigh=lambda mail: len(mail.content) + 1
        )
        self.connections = 0
        self.under_way = 0  # mails

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if not self._mailroom.takes(address):
            return NO_MAILBOX
        if envelope.rcpt_tos:
            return ONE_ONLY
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def take(self, recipient: str, content: bytes) -> str:
        """The reply to the final dot."""
        self.under_way += 1
        try:
            mail = ReturnedMail(content=content, recipient=recipient, at=self._now())
            [verdict] = await self._coalescer.submit([mail])
        except (StoreUnavailable, Full):
            return LATER
        finally:
            self.under_way -= 1
        return LATER if isinstance(verdict, NotTaken) else "250 2.0.0 OK"

    async def purge(self) -> None:
        """Now and each hour, until it is canceled."""
        while True:
            with suppress(StoreUnavailable):
                await asyncio.get_running_loop().run_in_executor(self._threads, self._mailroom.purge)
            await asyncio.sleep(PURGE_EVERY)


class Connection(SMTP):
    """aiosmtpd's protocol, with LHLO, a bound on connections, and a body of which only the beginning is kept."""

    event_handler: Handler

    async def _handle_client(self) -> None:
        self.event_handler.connections += 1
        try:
            if self.event_handler.connections > CONNECTIONS:
                await self.push(BUSY)
                if self.transport is not None:
                    self.transport.close()
                return
            await super()._handle_client()
        finally:
            self.event_handler.connections -= 1

    @syntax("LHLO hostname")
    async def smtp_LHLO(self, arg: str) -> None:  # noqa: N802
        await self.smtp_EHLO(arg)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802
        if self.envelope is None or not self.envelope.rcpt_tos:
            await self.push("503 5.5.1 Need RCPT")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        content = await self._content()
        reply = await self.event_handler.take(self.envelope.rcpt_tos[0], content)
        self._set_post_data_state()  # type: ignore[no-untyped-call]
        await self.push(reply)

    async def _content(self) -> bytes:
        """The first MAX_SIZE bytes, up to the final dot. Whoever sends more than LONGEST is cut off."""
        kept = bytearray()
        size, at_start = 0, True
        while size < LONGEST:
            try:
                piece, ends = await self._reader.readuntil(b"\r\n"), True
            except asyncio.LimitOverrunError as error:  # a line that is too long comes in pieces
                piece, ends = await self._reader.read(error.consumed), False
            if at_start and piece == b".\r\n":
                return bytes(kept)
            size += len(piece)
            if len(kept) < MAX_SIZE:
                kept += piece[1:] if at_start and piece.startswith(b".") else piece
            at_start = ends
        if self.transport is not None:
            self.transport.close()
        await asyncio.Event().wait()  # aiosmtpd cancels this task when the connection is closed
        raise ConnectionAbortedError


async def listen(
    mailroom: Mailroom, listening: socket.socket, *, now: Callable[[], datetime], stopping: asyncio.Event
) -> None:
    """Serve until `stopping`; then finish the mails under way."""
    loop = asyncio.get_running_loop()
    # aiosmtpd writes addresses to its log.
    logging.getLogger("mail.log").setLevel(logging.ERROR)
    handler = Handler(mailroom, now)
    server = await loop.create_server(
        lambda: Connection(
            handler,
            data_size_limit=LONGEST,
            enable_SMTPUTF8=True,
            timeout=IDLE,
            hostname="tidings",
            ident="Tidings",
            loop=loop,
        ),
        sock=listening,
    )
    purging = asyncio.create_task(handler.purge())
    await stopping.wait()
    server.close()
    purging.cancel()
    end = loop.time() + DRAIN
    while handler.under_way and loop.time() < end:
        await asyncio.sleep(0.02)
