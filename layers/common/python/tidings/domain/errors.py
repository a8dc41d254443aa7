"""The errors, as a tree.

::

    Exception
    ├── DeliveryError            a provider did not say "accepted"
    │   ├── TransientError       proven not accepted; trying again may help
    │   │   └── NotCalled        not its turn yet; the provider was not called
    │   │       └── OnHold       its endpoint is disabled
    │   ├── PermanentError       proven not accepted; trying again cannot help
    │   │   └── Suppressed       its recipient is suppressed; the provider was not called
    │   ├── AmbiguousError       it may have accepted
    │   └── AccountError         it refuses our account, for every recipient
    │       └── NotReady         this worker cannot send it; the provider was not called
    ├── StoreUnavailable         the database does not answer
    ├── RowTooLarge              the database's settings do not allow a row of this size
    ├── AlreadyExpired           `expires_at` had passed when it was submitted
    ├── BrokerUnavailable        the broker does not answer or confirm
    ├── InvalidMessage           not a message of Tidings
    │   └── UnsupportedVersion   a message of a newer release
    └── ConfigurationError       a setting is missing or wrong
"""

from datetime import datetime, timedelta


class DeliveryError(Exception):
    """A provider did not say "accepted". `code` is the provider's, or one of ours (`timeout`)."""

    kind = "delivery"

    def __init__(self, code: str, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after = retry_after


class TransientError(DeliveryError):
    """Proven not accepted; trying again may help.

    `may_be_account`: the error may mean this recipient or our account. The outcomes of other recipients decide.
    """

    kind = "transient"

    def __init__(
        self, code: str, message: str, *, retry_after: timedelta | None = None, may_be_account: bool = False
    ) -> None:
        super().__init__(code, message, retry_after=retry_after)
        self.may_be_account = may_be_account


class NotCalled(TransientError):
    """The provider was not called: the recipient has its maximum of concurrent calls, or could not be looked up now.
    The attempt does not count."""


class OnHold(NotCalled):
    """The webhook endpoint is disabled: the notification waits until it is enabled."""

    @property
    def is_gone(self) -> bool:
        """True: the endpoint was called, and is disabled because it has just answered 410 (gone)."""
        return self.code == "410"


class PermanentError(DeliveryError):
    """Proven not accepted; trying again cannot help.

    `suppress`: why this recipient can take nothing more (`token_dead`, `opted_out`, `mailbox_unknown`).
    """

    kind = "permanent"

    def __init__(self, code: str, message: str, *, suppress: str | None = None) -> None:
        super().__init__(code, message)
        self.suppress = suppress


class Suppressed(PermanentError):
    """Its recipient is suppressed. The provider was not called. `code` is the reason."""


class AmbiguousError(DeliveryError):
    """It may have accepted: the answer is missing or unclear. Sending again may send twice."""

    kind = "ambiguous"


INTERNAL = "internal"
"""The code of a bug in a provider class: transient if no byte of the request was written, otherwise ambiguous."""

LEASE_EXPIRED = "lease_expired"
"""The code of an AmbiguousError of ours: its worker did not settle it in time, and may have been killed by it."""


class AccountError(DeliveryError):
    """The provider refuses our account (credentials, sender, quota), for every recipient.

    An operator must act. Until then the notification waits, and no attempt counts. A refusal that depends on one
    recipient or one caller is never this.
    """

    kind = "account"


class NotReady(AccountError):
    """This worker cannot send it. The provider was not called. An operator must act here too."""


class StoreUnavailable(Exception):
    """The database does not answer. A transaction whose COMMIT was not answered may be committed as a whole. Repeat the
    whole call: it does only what is missing."""


class RowTooLarge(Exception):
    """The database's `max_allowed_packet` is too small for this row. Trying again cannot help."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"max_allowed_packet is {limit} bytes")
        self.limit = limit


class AlreadyExpired(Exception):
    """Its `expires_at` had passed when it was submitted. Nothing is stored."""

    def __init__(self, now: datetime) -> None:
        super().__init__(f"the database's clock says {now}")
        self.now = now


class BrokerUnavailable(Exception):
    """The broker did not confirm. Part of the wave may be queued; publishing it again is harmless."""


class InvalidMessage(Exception):
    """Not a message of Tidings: no id, no channel, another type."""


class UnsupportedVersion(InvalidMessage):
    """A message of a newer release, whose workers can read it."""


class ConfigurationError(Exception):
    """A setting is missing or wrong. The text is one line that says what to change."""


def fault_location(error: BaseException) -> str:
    """The file and line of an exception, logged instead of its message, which may hold a caller's data."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
