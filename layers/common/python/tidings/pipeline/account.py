"""Whether the provider refuses our account, as far as this worker knows, and what its calls say about that."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from tidings.domain.connection import SEVERAL, CallEnd, Connection, others_accepted_since
from tidings.domain.errors import AccountError, NotReady, PermanentError, StoreUnavailable, TransientError
from tidings.domain.notification import Notification, Status
from tidings.domain.timing import ACCOUNT_LOOK_EVERY
from tidings.observability.events import AccountRefused, AccountRestored
from tidings.observability.observers import Observers
from tidings.pipeline.outcomes import Outcome
from tidings.ports import Acceptance, Settlement, Store


class Account:
    """The account at one worker's provider. Thread-safe.

    A worker that sees several recipients refused stops claiming at once; the other workers stop within
    ACCOUNT_LOOK_EVERY.
    """

    def __init__(self, store: Store, name: str, *, lease: timedelta, observers: Observers) -> None:
        """`name`: of the provider."""
        self._store = store
        self._name = name
        self._lease = lease
        self._observers = observers
        self._known = Connection(name=name)
        self._looked_at = self._wrote_at = float("-inf")  # on the monotonic clock
        self._refused: set[str] = set()  # recipients since the last acceptance here, not yet reported
        self._probe: str | None = None  # the notification that this worker sends as a probe
        self._lock = threading.Lock()

    # --- before a claim -----------------------------------------------------------------------------------------------

    def look(self) -> Connection:
        """The connection, at most ACCOUNT_LOOK_EVERY old. Raise StoreUnavailable."""
        now = time.monotonic()
        if now - self._looked_at >= ACCOUNT_LOOK_EVERY.total_seconds():
            found = {connection.name: connection for connection in self._store.connections()}
            self._keep(found.get(self._name, Connection(name=self._name)), now)
        return self._known

    def is_open(self) -> bool:
        """True: notifications are claimed normally, without probes. Raise StoreUnavailable."""
        return self.look().is_open and len(self._refused) < SEVERAL

    def take_probe(self, notification_id: str) -> bool:
        """True: this notification is now the probe, and may be sent. Raise StoreUnavailable."""
        if not self._store.take_probe(self._name, notification_id, self._lease):
            return False
        self._probe = notification_id
        return True

    def release_probe(self, notification_id: str) -> None:
        """It could not be claimed: another notification may be the probe. Raise StoreUnavailable."""
        self._probe = None
        self._store.release_probe(self._name, notification_id)

    # --- after a call -------------------------------------------------------------------------------------------------

    @property
    def known(self) -> Connection:
        """The connection as last read."""
        return self._known

    def note(self, notification: Notification, outcome: Outcome) -> None:
        """A call ended with this outcome. To be called before it is recorded, so that no more is claimed meanwhile."""
        if isinstance(outcome, Acceptance):
            if self._refused:
                with self._lock:
                    self._refused.clear()
        elif _is_evidence(notification, outcome, self._known):
            with self._lock:
                self._refused.add(notification.recipient)

    def report(self, settlements: Sequence[Settlement]) -> None:
        """Record what these say about the connection, if that is news. Raise nothing: the next refusal or acceptance
        says the same."""
        self._pass_on_probe(settlements)
        ends = [end for s in settlements if (end := _call_end(s, self._known)) is not None]
        if not any(end.refused or end.notification_id == self._probe for end in ends):
            ends = [end for end in ends if end.accepted][:1]
            if not ends or (
                self._known.is_clean and time.monotonic() - self._wrote_at < ACCOUNT_LOOK_EVERY.total_seconds()
            ):
                return
        try:
            before, after = self._store.report(self._name, settlements[0].notification.channel, ends)
        except StoreUnavailable:
            return
        now = time.monotonic()
        self._keep(after, now)
        self._wrote_at = now
        with self._lock:
            self._refused -= {end.recipient for end in ends}
        if self._probe in {end.notification_id for end in ends}:
            self._probe = None
        if after.is_refusing and not before.is_refusing:
            self._observers.emit(AccountRefused(connection=after))
        elif before.is_refusing and not after.is_refusing:
            self._observers.emit(AccountRestored(connection=before, at=after.at))

    def _pass_on_probe(self, settlements: Sequence[Settlement]) -> None:
        """A suppressed notification called nobody: the next one may be the probe at once."""
        for settlement in settlements:
            if settlement.status is Status.SUPPRESSED and settlement.notification.id == self._probe:
                with suppress(StoreUnavailable):  # the probe's lease ends by itself
                    self.release_probe(settlement.notification.id)

    def _keep(self, connection: Connection, now: float) -> None:
        self._known, self._looked_at = connection, now


def _is_evidence(notification: Notification, outcome: object, known: Connection) -> bool:
    """True: the refusal is evidence against our account. A notification that is refused repeatedly while others are
    accepted is not."""
    if isinstance(outcome, TransientError):
        return outcome.may_be_account and (notification.attempt == 1 or not known.is_open)
    if isinstance(outcome, AccountError) and not isinstance(outcome, NotReady):
        return not known.is_open or not others_accepted_since(notification, known)
    return False


def _call_end(settlement: Settlement, known: Connection) -> CallEnd | None:
    """None: the provider was not called, or its answer says nothing about the connection."""
    error, row = settlement.error, settlement.notification
    if settlement.elapsed is None:
        return None
    return CallEnd(
        notification_id=row.id,
        recipient=row.recipient,
        accepted=settlement.status is Status.SENT,
        refused=_is_evidence(row, error, known),
        permanent=isinstance(error, PermanentError),
        code=error.code if error is not None else "",
        message=error.message if error is not None else "",
        retry_after=error.retry_after if error is not None else None,
    )
