"""What can go wrong, as values.

::

    Exception
    ├── DeliveryError            a provider did not say "accepted"
    │   ├── TransientError       proven not accepted; trying again may help
    │   ├── PermanentError       proven not accepted; trying again cannot help
    │   ├── AmbiguousError       it may have accepted
    │   └── AccountError         it refuses us, whoever the recipient is
    │       └── NotReady         this worker cannot send it; the provider was not asked
    ├── StoreUnavailable         the database does not answer
    ├── RowTooLarge              the database's settings do not let it take a row of this size
    ├── BrokerUnavailable        the broker does not answer or confirm
    ├── Unreadable               a message that is none of ours
    │   └── Newer                a message that a later version of ours wrote
    └── ConfigurationError       a setting is missing or wrong
"""

from datetime import datetime, timedelta


class DeliveryError(Exception):
    """A provider did not say "accepted". `code` is the provider's own, or a short name of ours (`timeout`)."""

    kind = "delivery"

    def __init__(self, code: str, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retry_after = retry_after


class TransientError(DeliveryError):
    """Proven not accepted; trying again may help.

    `may_be_account`: the refusal can mean this recipient, and as well us. What becomes of other recipients tells.
    """

    kind = "transient"

    def __init__(
        self, code: str, message: str, *, retry_after: timedelta | None = None, may_be_account: bool = False
    ) -> None:
        super().__init__(code, message, retry_after=retry_after)
        self.may_be_account = may_be_account


class PermanentError(DeliveryError):
    """Proven not accepted; trying again cannot help.

    `suppress` says why this recipient can take nothing any more (`token_dead`, `opted_out`, `mailbox_unknown`).
    """

    kind = "permanent"

    def __init__(self, code: str, message: str, *, suppress: str | None = None) -> None:
        super().__init__(code, message)
        self.suppress = suppress


class AmbiguousError(DeliveryError):
    """It may have accepted: the answer is missing or says nothing. Sending again may double."""

    kind = "ambiguous"


INTERNAL = "internal"
"""Of a fault of ours in a provider's class: transient where it had not written anything yet, ambiguous where it may
have."""

LEASE_EXPIRED = "lease_expired"
"""Of an AmbiguousError of our own: the worker that had it did not settle it in time. It may have died of it."""


class AccountError(DeliveryError):
    """The provider refuses us (credentials, sender, quota), whoever the recipient is.

    A person must act. Until then the notification waits, and no attempt counts. A refusal that depends on one recipient
    or on one caller is never this.
    """

    kind = "account"


class NotReady(AccountError):
    """This worker cannot send it, whatever the provider says, which was not asked: a person must act as well."""


class StoreUnavailable(Exception):
    """The database does not answer. A transaction whose COMMIT was not answered may be committed, as a whole: try the
    whole call again, which does what is missing."""


class RowTooLarge(Exception):
    """The database's settings do not let it take this row (`max_allowed_packet`). Trying again cannot help."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"max_allowed_packet is {limit} bytes")
        self.limit = limit


class AlreadyExpired(Exception):
    """Its `expires_at` had passed when it was submitted. Nothing is stored: it could never be sent."""

    def __init__(self, now: datetime) -> None:
        super().__init__(f"the database's clock says {now}")
        self.now = now


class BrokerUnavailable(Exception):
    """The broker did not confirm. Some of the wave may be queued: publishing it again is harmless."""


class InvalidMessage(Exception):
    """A message that is none of ours: no id, no channel, another type."""


class UnsupportedVersion(InvalidMessage):
    """A message that a later version of ours wrote: one of its workers can read it."""


class ConfigurationError(Exception):
    """A setting is missing or wrong; the text is the one line that says what to change."""


def fault_location(error: BaseException) -> str:
    """File and line of a fault, for the log in place of its message, which may hold what a user sent."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else "?"
