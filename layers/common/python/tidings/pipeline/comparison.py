"""Whether a provider's word about a message and ours agree."""

from tidings.domain.notification import CLAIMABLE, Status
from tidings.domain.receipt import PROOF_OF_FAILURE, ReceiptKind
from tidings.ports.message_list import ListedMessage

_AGREE = {
    ReceiptKind.ACCEPTED: {Status.SENT, Status.DELIVERED, Status.UNDELIVERED},
    ReceiptKind.DELIVERED: {Status.DELIVERED},
    **{kind: {Status.UNDELIVERED, Status.FAILED} for kind in PROOF_OF_FAILURE},
}


def is_unreported(listed: ListedMessage, status: Status) -> bool:
    """It arrived, which only a report could have told us."""
    return listed.kind is ReceiptKind.DELIVERED and status is Status.SENT


def agrees(listed: ListedMessage, status: Status) -> bool:
    """What is on its way agrees with everything: its message is of an earlier attempt. So does a status of theirs that
    we do not know."""
    if listed.kind is None or status in CLAIMABLE | {Status.SENDING, Status.SUPPRESSED}:
        return True
    return status in _AGREE.get(listed.kind, {status})
