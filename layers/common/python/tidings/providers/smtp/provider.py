"""Email through an SMTP server: a relay of your own, or a provider's submission port."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

from tidings.domain.errors import DeliveryError, TransientError
from tidings.ports import Acceptance, Clock, SendRequest
from tidings.providers.smtp.mime import Mail, build_mail
from tidings.providers.smtp.replies import masked
from tidings.providers.smtp.return_path import ReturnPath
from tidings.providers.smtp.session import Session, Stale
from tidings.providers.smtp.settings import SmtpSettings
from tidings.providers.smtp.timeouts import Countdown
from tidings.providers.unsubscribe import UnsubscribeLinks

CHECK_WITHIN = 20.0  # seconds; a person waits for the result


def _utc_now() -> datetime:
    return datetime.now(UTC)


def internal(error: Exception) -> TransientError:
    """A bug of ours, before the server had the mail. Keep only the type: the text could hold an address."""
    return TransientError("internal", f"unexpected {type(error).__name__}, before the mail was handed over")


@contextmanager
def _nothing_sent() -> Iterator[None]:
    """The block fails before the server has the mail, so each unexpected error is transient."""
    try:
        yield
    except DeliveryError:
        raise
    except Exception as error:
        raise internal(error) from error


class SmtpProvider:
    """Reuses connections: a mail costs two round trips on a kept connection, six or more on a new one."""

    name = "smtp"

    def __init__(
        self,
        settings: SmtpSettings,
        *,
        return_path: ReturnPath | None = None,
        unsubscribe: UnsubscribeLinks | None = None,
        now: Clock = _utc_now,
    ) -> None:
        """`return_path`: where bounces come back; None: to the sender. `unsubscribe`: None: mails have no such link."""
        self.timeout = timedelta(seconds=settings.timeout)
        self._settings = settings
        self._timeouts = settings.timeouts
        self._return_path = return_path
        self._now = now
        self._unsubscribe = unsubscribe
        self._slots = threading.BoundedSemaphore(settings.connections)
        self._lock = threading.Lock()
        self._kept: list[Session] = []  # used last in, first out, so that the others can become idle and be closed
        self._epoch = 0  # raised by close: sessions taken before it are not kept

    def send(self, outbound: SendRequest) -> Acceptance:
        """Send one mail. The Acceptance holds its Message-ID. Raise DeliveryError.

        All recipients (to, cc, bcc) or none: one that is refused fails the mail. Only a refused `to` is suppressed as
        `mailbox_unknown`.
        """
        countdown = Countdown(self._timeouts)
        with _nothing_sent():
            mail = self._built(outbound)
        with self._slot():
            said = self._deliver(mail, countdown)
        return Acceptance(provider_message_id=mail.message_id, response=masked(said, mail.parties.addresses) or None)

    def _built(self, outbound: SendRequest) -> Mail:
        mail = build_mail(
            outbound,
            sender=self._settings.sender,
            domain=self._settings.domain,
            date=self._now(),
            unsubscribe=self._unsubscribe.for_request("email", outbound) if self._unsubscribe is not None else None,
        )
        if self._return_path is None:
            return mail
        return replace(mail, back=self._return_path.back(outbound, len(mail.parties.recipients)))

    def _deliver(self, mail: Mail, countdown: Countdown) -> str:
        """The server's reply when it accepted the mail."""
        kept, epoch = self._take()
        if kept is not None:
            try:
                return self._deliver_by(kept, epoch, mail, countdown)
            except Stale:
                pass  # a new connection cannot be stale
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
        """Connect, start TLS, log in, quit. Raise DeliveryError."""
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
        """Never more connections than the setting allows: providers limit them."""
        patience = min(self._timeouts.command, self._timeouts.total)
        if not self._slots.acquire(timeout=patience):
            raise TransientError("busy", f"no connection became free within {patience:g} s")
        try:
            yield
        finally:
            self._slots.release()

    def _take(self) -> tuple[Session | None, int]:
        """The connection that was used last. If it has been idle for too long, so have all others: close them."""
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
        """Keep the session after the block if it is open and `close` was not called meanwhile."""
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
