"""How long each stage of a mail may take. The numbers are RFC 5321's (4.5.3.2): a shorter one doubles mail, because the
server may take what the client has given up."""

import time
from dataclasses import dataclass

from tidings.providers.smtp.stages import Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Seconds."""

    connect: float  # the TCP connection, all addresses of the server's name together
    command: float  # the greeting, TLS, and each command that is not named here, until its reply is complete
    data: float
    block: float  # until the server has taken some more of the body
    dot: float
    total: float  # one mail: all of these, and the wait for a free connection

    def of(self, stage: Stage) -> float:
        match stage:
            case Stage.CONNECT:
                return self.connect
            case Stage.DATA:
                return self.data
            case Stage.BODY:
                return self.block
            case Stage.DOT:
                return self.dot
        return self.command


class Countdown:
    """The time of one mail: each stage has its time-out, and none goes on when the time for all of them is up.

    Every wait of a stage asks anew what is left of it, so a server that answers letter by letter gains nothing.
    """

    def __init__(self, timeouts: Timeouts, *, total: float | None = None) -> None:
        """`total`: seconds, where they are not those of a mail."""
        self.timeouts = timeouts
        self._total = total if total is not None else timeouts.total
        self._end = self._stage_end = time.monotonic() + self._total
        self._seconds = self._total

    def start(self, stage: Stage) -> None:
        self._seconds = self.timeouts.of(stage)
        self._stage_end = min(time.monotonic() + self._seconds, self._end)

    def shorten(self, seconds: float) -> None:
        """What follows has no longer than this, all together."""
        self._end = self._stage_end = min(self._end, time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds that the stage may still take, more than 0. Raise TimeoutError."""
        left = self._stage_end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    @property
    def limit(self) -> str:
        """The time-out that ends the stage, for the text of an error."""
        if self._stage_end < self._end:
            return f"within {self._seconds:g} s"
        return f"before the {self._total:g} s for all steps were over"
