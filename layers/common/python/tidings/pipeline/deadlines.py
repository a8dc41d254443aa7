"""How long one delivery may take: its process may be ended after that."""

from dataclasses import dataclass
from datetime import timedelta

from tidings.domain.timing import BEGIN_WITHIN, RETURN_RESERVE, SETTLE_RESERVE


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """On the monotonic clock. A call starts only if it can end before the process does: otherwise nobody would record
    what was sent."""

    call: timedelta  # the longest provider call
    start_by: float  # a call that has not started by then is not waited for
    end_by: float  # every call has ended by then
    settle_by: float  # recording is given up then
    is_enough: bool  # the time allows for at least one call

    @classmethod
    def of(cls, now: float, *, within: timedelta, call: timedelta) -> "Deadlines":
        """`within`: how long the process still lives, from `now`."""
        sending = within - SETTLE_RESERVE
        return cls(
            call=call,
            start_by=now + min(BEGIN_WITHIN, max(sending - call, timedelta(0)) or sending).total_seconds(),
            end_by=now + sending.total_seconds(),
            settle_by=now + (within - RETURN_RESERVE).total_seconds(),
            is_enough=call < sending,
        )

    def allow_call(self, now: float) -> bool:
        return now + self.call.total_seconds() < self.end_by

    def left_to_start(self, now: float) -> timedelta:
        return timedelta(seconds=max(self.start_by - now, 0))

    def left_to_settle(self, now: float) -> timedelta:
        return timedelta(seconds=self.settle_by - now)

    @property
    def too_short(self) -> str:
        """Why no call is made, and what to change."""
        return (
            f"the function's time-out leaves no room for one call, which may take {self.call.total_seconds():g} s, and "
            f"for {SETTLE_RESERVE.total_seconds():g} s to record its outcome; raise it, or lower the provider's"
        )
