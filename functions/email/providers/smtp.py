"""Email through an SMTP server: a relay of your own, or a provider's submission port."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Annotated, ClassVar
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field
from tidings.addresses import mailbox
from tidings.errors import TransientError
from tidings.ports import Clock, Outbound, Receipt
from tidings.settings import Settings

from .mime import Mail, build_mail
from .smtp_session import Session, Stale
from .smtp_wire import Server

DEFAULT_PORTS = {"smtp": 25, "smtps": 465, "smtp+starttls": 587}


def _server(url: str) -> Server:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        user = unquote(parts.username) if parts.username is not None else None
        password = unquote(parts.password or "")
    except ValueError:
        host = None
    if host is None or parts.scheme not in DEFAULT_PORTS or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(
            "not smtp://, smtps:// or smtp+starttls:// with [user:password@]host[:port]; percent-encode the password"
        )
    if not f"{user}{password}".isascii():
        raise ValueError("user and password must be ASCII")  # all that the AUTH mechanisms of smtplib can say
    return Server(
        host=host,
        port=port or DEFAULT_PORTS[parts.scheme],
        tls=parts.scheme == "smtps",
        starttls=parts.scheme == "smtp+starttls",
        user=user or None,
        password=password,
    )


def _is_server(url: str) -> str:
    _server(url)
    return url


def _is_trust(path: str | None) -> str | None:
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ValueError(f"not a readable PEM file of certificates: {error.strerror}") from None
    return path


class SmtpSettings(Settings):
    """TIDINGS_SMTP_URL and its neighbours."""

    prefix: ClassVar[str] = "TIDINGS_SMTP_"

    url: Annotated[
        str,
        AfterValidator(_is_server),
        Field(repr=False, description="smtp:// in the clear, smtps:// TLS, smtp+starttls:// STARTTLS or nothing"),
    ]
    sender: Annotated[
        str, AfterValidator(mailbox), Field(description="the default From: an address, or Name <address>")
    ]
    timeout: Annotated[
        float, Field(gt=0, le=600, description="seconds that one mail may take, connecting included")
    ] = 30
    connections: Annotated[
        int, Field(ge=1, le=1000, description="connections at most; more mails wait, of priority high as well")
    ] = 18
    idle: Annotated[float, Field(ge=0, description="seconds after which an unused connection is not used again")] = 30
    message_id_domain: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z0-9.-]+$", description="right of the @ in Message-ID; default: the sender's"),
    ] = None
    ca_file: Annotated[
        str | None,
        AfterValidator(_is_trust),
        Field(description="PEM file of the authorities to trust; default: the system's"),
    ] = None

    @property
    def server(self) -> Server:
        return _server(self.url)

    @property
    def domain(self) -> str:
        return self.message_id_domain or self.sender.rstrip(">").rpartition("@")[2]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SmtpProvider:
    """Keeps its connections: a mail on a kept one costs two round trips, on a new one six or more."""

    name = "smtp"

    def __init__(self, settings: SmtpSettings, *, now: Clock = _utc_now) -> None:
        self.timeout = timedelta(seconds=settings.timeout)
        self._settings = settings
        self._now = now
        self._slots = threading.BoundedSemaphore(settings.connections)
        self._lock = threading.Lock()
        self._kept: list[Session] = []  # the last used is last, and used first: the others may grow old and go
        self._epoch = 0  # raised by close: what was lent before is not kept after

    def send(self, outbound: Outbound) -> Receipt:
        """Hand one mail over; its Message-ID is the receipt. Raise DeliveryError.

        All recipients (to, cc, bcc) or none: one that is refused refuses the mail. Only the refused `to` is reported as
        `mailbox_unknown`.
        """
        deadline = time.monotonic() + self._settings.timeout
        mail = build_mail(
            outbound,
            sender=self._settings.sender,
            domain=self._settings.domain,
            date=self._now(),
        )
        with self._slot(deadline):
            self._deliver(mail, deadline)
        return Receipt(provider_message_id=mail.message_id)

    def _deliver(self, mail: Mail, deadline: float) -> None:
        kept, epoch = self._take()
        if kept is not None:
            try:
                with self._returned(kept, epoch):
                    kept.deliver(mail, deadline=deadline)
                return
            except Stale:
                pass  # once: a new connection cannot be stale
        session = Session(self._settings.server, self._context, deadline=deadline)
        with self._returned(session, epoch):
            session.deliver(mail, deadline=deadline)

    def check(self) -> str:
        """Connect, secure, log in, and leave. Raise DeliveryError."""
        server = self._settings.server
        Session(server, self._context, deadline=time.monotonic() + self._settings.timeout).quit()
        login = "logged in" if server.user is not None else "without a login"
        return f"{server.host}:{server.port} answers, {login}"

    def close(self) -> None:
        with self._lock:
            sessions, self._kept = self._kept, []
            self._epoch += 1
        for session in sessions:
            session.quit()

    # --- the pool ---

    @cached_property
    def _context(self) -> ssl.SSLContext | None:
        server = self._settings.server
        return ssl.create_default_context(cafile=self._settings.ca_file) if server.tls or server.starttls else None

    @contextmanager
    def _slot(self, deadline: float) -> Iterator[None]:
        """Never more connections than the setting says: providers count them."""
        if not self._slots.acquire(timeout=max(0, deadline - time.monotonic())):
            raise TransientError("busy", "every connection was in use until the time was up")
        try:
            yield
        finally:
            self._slots.release()

    def _take(self) -> tuple[Session | None, int]:
        """The connection used last, unless it is old; then all are."""
        with self._lock:
            epoch = self._epoch
            session = self._kept.pop() if self._kept else None
            old: list[Session] = []
            if session is not None and time.monotonic() - session.idle_since > self._settings.idle:
                old, self._kept = [session, *self._kept], []
                session = None
        for one in old:
            one.quit()
        return session, epoch

    @contextmanager
    def _returned(self, session: Session, epoch: int) -> Iterator[None]:
        """Lend the session; afterwards keep it if it is fit and nobody has called close meanwhile."""
        try:
            yield
        finally:
            if session.is_open:
                session.keep()
                with self._lock:
                    wanted = epoch == self._epoch
                    if wanted:
                        self._kept.append(session)
                if not wanted:
                    session.quit()
