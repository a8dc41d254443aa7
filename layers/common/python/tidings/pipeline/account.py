"""Whether the provider refuses our account, as this worker knows it: what it may claim, and what its calls tell."""

import threading
import time
from collections.abc import Sequence
from datetime import timedelta

from tidings.domain.connection import SEVERAL, CallEnd, Connection, others_accepted_since
from tidings.domain.errors import AccountError, NotReady, PermanentError, StoreUnavailable, TransientError
from tidings.domain.notification import Notification, Status
from tidings.domain.timing import ACCOUNT_LOOK_EVERY
from tidings.observability.events import AccountRefused, AccountRestored
from tidings.observability.observers import Observers
from tidings.pipeline.settlement import Outcome
from tidings.ports import Acceptance, Settlement, Store


class Account:
    """Of one worker's provider. For any number of threads.

    A worker that sees several recipients refused claims no more at once; the others learn of it within
    ACCOUNT_LOOK_EVERY.
    """

    def __init__(self, store: Store, name: str, *, lease: timedelta, observers: Observers) -> None:
        """`name`: the provider's."""
        self._store = store
        self._name = name
        self._lease = lease
        self._observers = observers
        self._known = Connection(name=name)
        self._looked_at = self._wrote_at = float("-inf")  # on the monotonic clock
        self._refused: set[str] = set()  # recipients, since the last acceptance here; not yet reported
        self._probe: str | None = None  # the notification that this worker sends as a probe
        self._lock = threading.Lock()

    # --- for those who claim ------------------------------------------------------------------------------------------

    def look(self) -> Connection:
        """Raise StoreUnavailable."""
        now = time.monotonic()
        if now - self._looked_at >= ACCOUNT_LOOK_EVERY.total_seconds():
            found = {connection.name: connection for connection in self._store.connections()}
            self._keep(found.get(self._name, Connection(name=self._name)), now)
        return self._known

    def is_open(self) -> bool:
        """Whether notifications may be claimed as they come. Raise StoreUnavailable."""
        return self.look().is_open and len(self._refused) < SEVERAL

    def take_probe(self, notification_id: str) -> bool:
        """Whether this one may be sent, to see whether the provider still refuses us. Raise StoreUnavailable."""
        if not self._store.take_probe(self._name, notification_id, self._lease):
            return False
        self._probe = notification_id
        return True

    def release_probe(self, notification_id: str) -> None:
        """It could not be claimed: another may be the probe. Raise StoreUnavailable."""
        self._probe = None
        self._store.release_probe(self._name, notification_id)

    # --- for those who send -------------------------------------------------------------------------------------------

    @property
    def known(self) -> Connection:
        """As it was seen last."""
        return self._known

    def note(self, notification: Notification, outcome: Outcome) -> None:
        """A call has ended so. To be called before it is written down, so that no more is claimed meanwhile."""
        if isinstance(outcome, Acceptance):
            if self._refused:
                with self._lock:
                    self._refused.clear()
        elif _is_evidence(notification, outcome, self._known):
            with self._lock:
                self._refused.add(notification.recipient)

    def report(self, settlements: Sequence[Settlement]) -> None:
        """Write down what these say of the connection, where that is news. Raise nothing: it is said again by the next
        refusal, or the next acceptance."""
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

    def _keep(self, connection: Connection, now: float) -> None:
        self._known, self._looked_at = connection, now


def _is_evidence(notification: Notification, outcome: object, known: Connection) -> bool:
    """Whether a provider's refusal speaks against our account. One that is refused again and again speaks for itself
    alone, where others are accepted."""
    if isinstance(outcome, TransientError):
        return outcome.may_be_account and (notification.attempt == 1 or not known.is_open)
    if isinstance(outcome, AccountError) and not isinstance(outcome, NotReady):
        return not known.is_open or not others_accepted_since(notification, known)
    return False


def _call_end(settlement: Settlement, known: Connection) -> CallEnd | None:
    """None: the provider was not called, or says nothing of the connection."""
    error, row = settlement.error, settlement.notification
    if settlement.elapsed is None or isinstance(error, NotReady):
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
