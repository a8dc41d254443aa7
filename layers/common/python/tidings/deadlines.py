"""How long a batch may take: until its lease runs out, or until whoever invoked us ends this process."""

from dataclasses import dataclass
from datetime import timedelta

SETTLING = timedelta(seconds=5)
"""What is kept free at the end of an invocation's time: what was sent is written down, what was not is given back."""

RETURNING = timedelta(seconds=1)
"""What is kept of that to say that nothing can be written down, and to return."""

ENDLESS = timedelta(days=1)
"""The time of whom nobody ends: longer than any lease, and than anybody tries to write down what was sent."""


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """Of one batch. Who could still be sending when the lease runs out must not begin: another would send too. Nor who
    could be when the process is ended: nobody would write down what was sent."""

    call: timedelta  # what one call to the provider may take
    sent: float  # when every call has ended, on the monotonic clock
    settled: float  # when nothing is tried any more
    is_enough: bool  # whether the time that was given is enough for one call

    @classmethod
    def of(cls, now: float, *, within: timedelta, lease: timedelta, call: timedelta) -> "Deadlines":
        """From now on, for a process that is ended `within` this time."""
        sending = within - SETTLING
        return cls(
            call=call,
            sent=now + min(lease, sending).total_seconds(),
            settled=now + (within - RETURNING).total_seconds(),
            is_enough=call < sending,
        )

    def allow_call(self, now: float) -> bool:
        return now + self.call.total_seconds() < self.sent

    def left_to_settle(self, now: float) -> timedelta:
        return timedelta(seconds=self.settled - now)

    @property
    def too_short(self) -> str:
        """Why not one call is made, and what to change."""
        return (
            f"the function's time-out leaves no room for one call, which may take {self.call.total_seconds():g} s, and "
            f"for {SETTLING.total_seconds():g} s to write down what was sent; raise it, or lower the provider's"
        )
