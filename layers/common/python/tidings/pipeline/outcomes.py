"""How an attempt can end. Settlement decides what follows from each."""

from dataclasses import dataclass

from tidings.domain.errors import DeliveryError
from tidings.ports import Acceptance


@dataclass(frozen=True)
class ExpiredBeforeSend:
    """It was claimed before `expires_at`, but no call could start before it. The provider was not called."""


@dataclass(frozen=True)
class NoTimeLeft:
    """The lease or the process would have ended before the call. The provider was not called."""


Outcome = Acceptance | DeliveryError | ExpiredBeforeSend | NoTimeLeft
