"""A receipt: what a provider reports later about a message, in the words of no vendor."""

import enum
from datetime import datetime

from tidings.domain.errors import DeliveryError, PermanentError, TransientError
from tidings.domain.value import value


class By(enum.StrEnum):
    """Who says so: the source of a timeline entry."""

    PROVIDER = "provider"  # its answer to our call, or its missing answer
    RECEIPT = "receipt"  # its report, later
    LOOKUP = "lookup"  # its answer when we asked what it had accepted
    OPERATOR = "operator"  # a person, or the caller who canceled
    SWEEP = "sweep"  # we alone: it expired, its worker was lost, or its recipient is suppressed
    INTAKE = "intake"  # it was accepted: of the event `CREATED` alone, which no timeline has


class ReceiptKind(enum.StrEnum):
    ACCEPTED = "accepted"  # accepted or passed on: it may still fail
    DELIVERED = "delivered"
    FAILED_SOFT = "failed_soft"  # not delivered; another try may help
    FAILED_HARD = "failed_hard"  # not delivered; another try cannot help
    COMPLAINED = "complained"
    OPTED_OUT = "opted_out"
    OPTED_IN = "opted_in"


PROOF_OF_ACCEPTANCE = frozenset({ReceiptKind.ACCEPTED, ReceiptKind.DELIVERED})
PROOF_OF_FAILURE = frozenset({ReceiptKind.FAILED_SOFT, ReceiptKind.FAILED_HARD})
WISHES = frozenset({ReceiptKind.COMPLAINED, ReceiptKind.OPTED_OUT, ReceiptKind.OPTED_IN})
"""What the recipient wants, which says nothing of how a message fared."""


@value
class Receipt:
    """One report of one provider about one message."""

    provider: str
    connection: str  # our account there
    event_id: str  # of the report: one with the same provider and event id is a duplicate
    kind: ReceiptKind
    at: datetime  # when it happened, or when we were told
    provider_message_id: str | None = None
    notification_id: str | None = None  # these three: from the sealed callback address, if it had them
    generation: int | None = None
    attempt: int | None = None
    code: str | None = None  # the provider's
    message: str | None = None  # without personal data
    suppress: str | None = None  # a failure's: why this recipient can take nothing more, as `PermanentError.suppress`
    by: str | None = None  # lookup: it is the answer to our question; None: the provider reported it
    recipient: str | None = None  # the stored form, of a report about a recipient instead of a message: a STOP
    raw_sha256: str | None = None  # of the report as it arrived, in hexadecimal; None: an older release took it

    @property
    def error(self) -> DeliveryError | None:
        """Of a failure."""
        if self.kind not in PROOF_OF_FAILURE:
            return None
        hard = self.kind is ReceiptKind.FAILED_HARD
        error = (PermanentError if hard else TransientError)(
            self.code or str(self.kind), self.message or str(self.kind)
        )
        if isinstance(error, PermanentError):
            error.suppress = self.suppress
        return error
