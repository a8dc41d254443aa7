"""Email through an SMTP server: a relay of your own, or a provider's submission port."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cached_property

from tidings.domain.errors import DeliveryError, TransientError
from tidings.ports import Acceptance, Clock, SendRequest
from tidings.providers.smtp.mime import Mail, build_mail
from tidings.providers.smtp.replies import masked
from tidings.providers.smtp.session import Session, Stale
from tidings.providers.smtp.settings import SmtpSettings
from tidings.providers.smtp.timeouts import Countdown

CHECK_WITHIN = 20.0  # seconds; a person waits for the answer, not a mail


def _utc_now() -> datetime:
    return datetime.now(UTC)


def internal(error: Exception) -> TransientError:
    """A fault of ours, while the server had no mail yet. Its text could hold an address, so only the type is kept."""
    return TransientError("internal", f"unexpected {type(error).__name__}, before the mail was handed over")


@contextmanager
def _nothing_sent() -> Iterator[None]:
    """Whatever goes wrong here, the server has no mail."""
    try:
        yield
    except DeliveryError:
        raise
    except Exception as error:
        raise internal(error) from error


class SmtpProvider:
    """Keeps its connections: a mail on a kept one costs two round trips, on a new one six or more."""

    name = "smtp"

    def __init__(self, settings: SmtpSettings, *, now: Clock = _utc_now) -> None:
        self.timeout = timedelta(seconds=settings.timeout)
        self._settings = settings
        self._timeouts = settings.timeouts
        self._now = now
        self._slots = threading.BoundedSemaphore(settings.connections)
        self._lock = threading.Lock()
        self._kept: list[Session] = []  # the last used is last, and used first: the others may grow old and go
        self._epoch = 0  # raised by close: what was lent before is not kept after

    def send(self, outbound: SendRequest) -> Acceptance:
        """Hand one mail over; its Message-ID is the receipt. Raise DeliveryError.

        All recipients (to, cc, bcc) or none: one that is refused refuses the mail. Only the refused `to` is reported as
        `mailbox_unknown`.
        """
        countdown = Countdown(self._timeouts)
        with _nothing_sent():
            mail = build_mail(outbound, sender=self._settings.sender, domain=self._settings.domain, date=self._now())
        with self._slot():
            said = self._deliver(mail, countdown)
        return Acceptance(provider_message_id=mail.message_id, response=masked(said, mail.parties.addresses) or None)

    def _deliver(self, mail: Mail, countdown: Countdown) -> str:
        """The server's words when it took the mail."""
        kept, epoch = self._take()
        if kept is not None:
            try:
                return self._deliver_by(kept, epoch, mail, countdown)
            except Stale:
                pass  # once: a new connection cannot be stale
        with _nothing_sent():
            session = Session(self._settings.server, self._context, countdown)
        return self._deliver_by(session, epoch, mail, countdown)

    def _deliver_by(self, session: Session, epoch: int, mail: Mail, countdown: Countdown) -> str:
        try:
            with self._returned(session, epoch):
                return session.deliver(mail, countdown)
        except (DeliveryError, Stale):
            raise
        except Exception as error:
            if session.may_have_taken:
                raise
            raise internal(error) from error

    def check(self) -> str:
        """Connect, secure, log in, and leave. Raise DeliveryError."""
        server = self._settings.server
        countdown = Countdown(self._timeouts, total=min(self._timeouts.total, CHECK_WITHIN))
        with _nothing_sent():
            Session(server, self._context, countdown).quit()
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
    def _slot(self) -> Iterator[None]:
        """Never more connections than the setting says: providers count them."""
        patience = min(self._timeouts.command, self._timeouts.total)
        if not self._slots.acquire(timeout=patience):
            raise TransientError("busy", f"no connection became free within {patience:g} s")
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
