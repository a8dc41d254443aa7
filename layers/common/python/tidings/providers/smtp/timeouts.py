"""How long each stage of a mail may take, by RFC 5321 (4.5.3.2). A shorter time-out doubles mail: the server may accept
a mail after the client has given up."""

import time
from dataclasses import dataclass

from tidings.providers.smtp.stages import Stage


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """Seconds."""

    connect: float  # the TCP connection, all addresses of the server's name together
    command: float  # the greeting, TLS, and the reply to each command not named here
    data: float
    block: float  # for each block of the body
    dot: float
    total: float  # one mail, including the wait for a free connection

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
    """The time for one mail: each stage has its time-out, and all stages have one together.

    Each wait gets only the time left of its stage, so that a server cannot hold us by answering letter by letter.
    """

    def __init__(self, timeouts: Timeouts, *, total: float | None = None) -> None:
        """`total`: seconds, in place of the setting."""
        self.timeouts = timeouts
        self._total = total if total is not None else timeouts.total
        self._end = self._stage_end = time.monotonic() + self._total
        self._seconds = self._total

    def start(self, stage: Stage) -> None:
        self._seconds = self.timeouts.of(stage)
        self._stage_end = min(time.monotonic() + self._seconds, self._end)

    def shorten(self, seconds: float) -> None:
        """Limit all that follows to this."""
        self._end = self._stage_end = min(self._end, time.monotonic() + seconds)

    def left(self) -> float:
        """Seconds left of the stage, more than 0. Raise TimeoutError."""
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
