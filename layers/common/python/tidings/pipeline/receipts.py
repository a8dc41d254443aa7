"""What follows from a receipt. A receipt is evidence: it closes ambiguity, and never takes back what is known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from tidings.config import failpoints
from tidings.domain.errors import AmbiguousError, PermanentError
from tidings.domain.notification import Notification, Status, TimelineEntry
from tidings.domain.receipt import PROOF_OF_ACCEPTANCE, PROOF_OF_FAILURE, WISHES, By, Receipt, ReceiptKind
from tidings.observability import events
from tidings.observability.observers import LOG_ONLY, Observers
from tidings.ports import Store
from tidings.ports.receipts import WITH_ENTRY, Applied, Consequence, Result

NOTHING = Consequence(result=Result.NOTHING)
KEPT = Consequence(result=Result.KEPT)

_STATUSES, _KINDS = frozenset(Status), PROOF_OF_ACCEPTANCE | PROOF_OF_FAILURE | WISHES
"""What this release knows."""


@dataclass(frozen=True, kw_only=True)
class Receipts:
    """Record what providers report."""

    store: Store
    observers: Observers = LOG_ONLY

    def record(self, batch: Sequence[Receipt]) -> Sequence[Applied]:
        """Commit all of them. A repeated call is harmless. Raise StoreUnavailable."""
        failpoints.step("receipts.before_commit")
        applied = self.store.apply_receipts(batch)
        failpoints.step("receipts.after_commit")
        self.observers.emit(events.ReceiptsRecorded(receipts=applied))
        return applied

    def refuse(self, provider: str) -> None:
        """A report's signature was wrong."""
        self.observers.emit(events.ReceiptRefused(provider=provider))


def consequence(row: Notification, timeline: Sequence[TimelineEntry], receipt: Receipt) -> Consequence:
    """The table of receipts: the one place that decides what a receipt does to a notification.

    ==========================================  ==================================  =================================
    the row is                                  proof of acceptance or delivery     proof of failure
    ==========================================  ==================================  =================================
    sending                                     kept until the attempt is settled   the same
    retrying after an ambiguous attempt         sent or delivered: no resend        soft: retrying; hard: failed
    unknown                                     sent or delivered                   undelivered
    pending again by a replay                   sent or delivered: not replayed     recorded
    failed, expired, canceled after ambiguous   sent or delivered                   recorded
    sent                                        delivered                           undelivered
    delivered                                   nothing                             undelivered, if it is hard
    undelivered                                 delivered, if the failure was soft  nothing
    ==========================================  ==================================  =================================

    Acceptance alone proves something only where nothing was known; delivery proves it wherever no hard failure of the
    same message is known. What is said of another message of the same notification, which it sent twice, is recorded.
    A complaint, an opt-out and an opt-in are recorded: they say nothing of how the message fared. What suppresses its
    recipient is decided by `suppression.reason_of`.
    """
    if receipt.kind not in _KINDS:
        return NOTHING
    if row.status is Status.SENDING or row.status not in _STATUSES:
        return KEPT  # its worker's outcome comes first; a later release decides about its own statuses
    about = _about(timeline, receipt)
    receipt = _named(receipt, about)
    if receipt.kind in WISHES:
        return _noted(row, receipt, about)
    decide = _failed if receipt.kind in PROOF_OF_FAILURE else _accepted
    follows = decide(row, timeline, about, receipt)
    return replace(follows, delay=_delay(about, receipt)) if follows.result in WITH_ENTRY else follows


def _accepted(
    row: Notification, timeline: Sequence[TimelineEntry], about: Sequence[TimelineEntry], receipt: Receipt
) -> Consequence:
    delivered = receipt.kind is ReceiptKind.DELIVERED
    known = _is_known(about, receipt)
    last = about[-1] if about else None
    if last is not None and last.error_class == PermanentError.kind:
        return NOTHING  # a hard failure of this message stands
    was_open = last is None or last.error_class == AmbiguousError.kind
    if not delivered and not was_open:
        return NOTHING  # overtaken by what is known of this message
    doubled = not known and _is_accepted_elsewhere(timeline, receipt)
    if row.status is Status.DELIVERED or (row.status is Status.SENT and not delivered):
        return NOTHING if known else _recorded(row, receipt, about, doubled=doubled)
    return _moved(row, Status.DELIVERED if delivered else Status.SENT, receipt, about, doubled=doubled)


def _failed(
    row: Notification, timeline: Sequence[TimelineEntry], about: Sequence[TimelineEntry], receipt: Receipt
) -> Consequence:
    hard = receipt.kind is ReceiptKind.FAILED_HARD
    last = about[-1] if about else None
    if last is not None and last.error_class not in (None, AmbiguousError.kind):
        return NOTHING  # known before; the first failure stands
    if row.status in (Status.SENT, Status.DELIVERED):
        if last is not None and last.status is Status.DELIVERED and not hard:
            return NOTHING  # only a hard bounce comes after a delivery
        if _is_accepted_elsewhere(timeline, receipt):
            return _recorded(row, receipt, about)  # another message of this notification arrived, or may arrive
        return _moved(row, Status.UNDELIVERED, receipt, about)
    if row.status is Status.UNDELIVERED:
        return NOTHING
    if row.status is Status.RETRYING and last is not None and last.generation == row.generation:
        if hard:
            return _moved(row, Status.FAILED, receipt, about)
        if last.attempt == row.attempt:
            return _moved(row, Status.RETRYING, receipt, about)
    if row.status is Status.UNKNOWN and not _is_open_elsewhere(timeline, about):
        return _moved(row, Status.UNDELIVERED, receipt, about)
    return _recorded(row, receipt, about)


def evidence(row: Notification, receipts: Sequence[Receipt]) -> Receipt | None:
    """How the present attempt ended, of a row whose worker was lost. An acceptance wins. None: none of them tells."""
    own = [receipt for receipt in receipts if (receipt.generation, receipt.attempt) == (row.generation, row.attempt)]
    proofs = [receipt for kinds in (PROOF_OF_ACCEPTANCE, PROOF_OF_FAILURE) for receipt in own if receipt.kind in kinds]
    return proofs[0] if proofs else None


def name_of(receipt: Receipt) -> str:
    """The id of a message whose receipt does not have the provider's: the name of its attempt."""
    return f"{receipt.notification_id}:{receipt.generation}:{receipt.attempt}"


# --- what the timeline says about the receipt's message ---------------------------------------------------------------


def _about(timeline: Sequence[TimelineEntry], receipt: Receipt) -> Sequence[TimelineEntry]:
    """The entries about the receipt's message: those with its id; else those of its attempt that name no message; else,
    if its attempt is not known, the last ambiguous one."""
    id, attempt = receipt.provider_message_id, (receipt.generation, receipt.attempt)
    by_id = [entry for entry in timeline if id is not None and entry.provider_message_id == id]
    if by_id:
        return by_id
    unnamed = [entry for entry in timeline if entry.provider_message_id is None or id is None]
    if receipt.attempt is not None:
        return [entry for entry in unnamed if (entry.generation, entry.attempt) == attempt and _is_of_attempt(entry)]
    return [entry for entry in unnamed if entry.error_class == AmbiguousError.kind][-1:]


def _named(receipt: Receipt, about: Sequence[TimelineEntry]) -> Receipt:
    """An app that acknowledges a push does not know the message's id; its attempt made one message."""
    if receipt.provider_message_id is not None:
        return receipt
    ids = [entry.provider_message_id for entry in about if entry.provider_message_id is not None]
    return replace(receipt, provider_message_id=ids[-1]) if ids else receipt


def _delay(about: Sequence[TimelineEntry], receipt: Receipt) -> timedelta | None:
    """Since the provider accepted the message. Two clocks: never less than nothing."""
    accepted = [entry.at for entry in about if entry.status is Status.SENT and entry.by != By.RECEIPT]
    return max(receipt.at - accepted[0], timedelta()) if accepted else None


def _is_of_attempt(entry: TimelineEntry) -> bool:
    """The entry tells how a call ended, or what was reported of it. A cancellation has the number of the last attempt,
    but says nothing of it."""
    return entry.error_class is not None or entry.provider_message_id is not None


def _is_known(about: Sequence[TimelineEntry], receipt: Receipt) -> bool:
    """A timeline entry names this message."""
    id = receipt.provider_message_id
    return any(entry.provider_message_id is not None and id in (None, entry.provider_message_id) for entry in about)


def _is_accepted_elsewhere(timeline: Sequence[TimelineEntry], receipt: Receipt) -> bool:
    """Another message of this notification was accepted and, as far as is known, has not failed. Without an id, the
    attempt is the message: all mails of a notification have the same Message-ID."""
    id, attempt = receipt.provider_message_id, (receipt.generation, receipt.attempt)
    if id is None:
        ends = {(entry.generation, entry.attempt): entry for entry in timeline if _is_of_attempt(entry)}
        return any(entry.error_class is None for key, entry in ends.items() if key != attempt)
    last = {entry.provider_message_id: entry for entry in timeline if entry.provider_message_id is not None}
    return any(entry.error_class is None for key, entry in last.items() if key != id)


def _is_open_elsewhere(timeline: Sequence[TimelineEntry], about: Sequence[TimelineEntry]) -> bool:
    """Another attempt was ambiguous, and no receipt has decided it."""
    ours = {(entry.generation, entry.attempt) for entry in about}
    last = {(entry.generation, entry.attempt): entry for entry in timeline if _is_of_attempt(entry)}
    return any(entry.error_class == AmbiguousError.kind for key, entry in last.items() if key not in ours)


# --- what is written --------------------------------------------------------------------------------------------------


def _moved(
    row: Notification, status: Status, receipt: Receipt, about: Sequence[TimelineEntry], *, doubled: bool = False
) -> Consequence:
    entry = _entry(row, status, receipt, about)
    return Consequence(result=Result.APPLIED, status=status, entry=entry, doubled=doubled)


def _recorded(
    row: Notification, receipt: Receipt, about: Sequence[TimelineEntry], *, doubled: bool = False
) -> Consequence:
    return Consequence(result=Result.RECORDED, entry=_entry(row, row.status, receipt, about), doubled=doubled)


def _noted(row: Notification, receipt: Receipt, about: Sequence[TimelineEntry]) -> Consequence:
    """Without the message's id: such an entry says nothing of the message."""
    entry = _entry(row, row.status, receipt, about)
    note = f"the recipient {receipt.kind.replace('_', ' ')}"
    return Consequence(result=Result.RECORDED, entry=replace(entry, provider_message_id=None, note=note))


def _entry(row: Notification, status: Status, receipt: Receipt, about: Sequence[TimelineEntry]) -> TimelineEntry:
    """Under the number of the attempt that the receipt is about, if that is known."""
    last, error = about[-1] if about else None, receipt.error
    own = (last.generation, last.attempt) if last is not None else (row.generation, row.attempt)
    return TimelineEntry(
        generation=receipt.generation if receipt.generation is not None else own[0],
        attempt=receipt.attempt if receipt.attempt is not None else own[1],
        status=status,
        at=receipt.at,
        provider=receipt.provider,
        provider_message_id=_message_id(receipt, last),
        error_class=error.kind if error is not None else None,
        error_code=error.code if error is not None else None,
        error_message=error.message if error is not None else None,
        by=receipt.by or By.RECEIPT,
        raw_sha256=receipt.raw_sha256,
    )


def _message_id(receipt: Receipt, last: TimelineEntry | None) -> str | None:
    if receipt.provider_message_id is not None or receipt.attempt is None:
        return receipt.provider_message_id
    return last.provider_message_id if last is not None and last.provider_message_id is not None else name_of(receipt)
