"""How long an invocation may take: whoever invoked us may end this process after it."""

from dataclasses import dataclass
from datetime import timedelta

from tidings.domain.timing import BEGIN_WITHIN, RETURN_RESERVE, SETTLE_RESERVE


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """Of one delivery, on the monotonic clock. A call begins only if it can end before the process is ended: nobody
    would write down what was sent."""

    call: timedelta  # what one call to the provider may take
    begun: float  # when no call is waited for any more that has not begun
    sent: float  # when every call has ended
    settled: float  # when nothing is tried any more
    is_enough: bool  # whether the time that was given is enough for one call

    @classmethod
    def of(cls, now: float, *, within: timedelta, call: timedelta) -> "Deadlines":
        """From now on, for a process that is ended `within` this time."""
        sending = within - SETTLE_RESERVE
        return cls(
            call=call,
            begun=now + min(BEGIN_WITHIN, max(sending - call, timedelta(0)) or sending).total_seconds(),
            sent=now + sending.total_seconds(),
            settled=now + (within - RETURN_RESERVE).total_seconds(),
            is_enough=call < sending,
        )

    def allow_call(self, now: float) -> bool:
        return now + self.call.total_seconds() < self.sent

    def left_to_begin(self, now: float) -> timedelta:
        return timedelta(seconds=max(self.begun - now, 0))

    def left_to_settle(self, now: float) -> timedelta:
        return timedelta(seconds=self.settled - now)

    @property
    def too_short(self) -> str:
        """Why not one call is made, and what to change."""
        return (
            f"the function's time-out leaves no room for one call, which may take {self.call.total_seconds():g} s, and "
            f"for {SETTLE_RESERVE.total_seconds():g} s to write down what was sent; raise it, or lower the provider's"
        )
