"""An SMTP server that takes every mail and notes when: `python -m tests.load.sink`, a process of its own."""

import asyncio
import json
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Self, cast

import uvloop

from tests.load.child import Child

NUMBER = re.compile(rb"\r\nSubject: n(\d{8})")
HELLO = b"250-sink\r\n250-PIPELINING\r\n250 SIZE 20000000\r\n"


@dataclass(frozen=True)
class Mails:
    """What arrived: each mail's number, and the second of the monotonic clock at which its final dot came."""

    numbers: list[int]
    at: list[float]
    delays: list[float]  # seconds until each was answered

    @property
    def by_number(self) -> dict[int, float]:
        return dict(zip(self.numbers, self.at, strict=True))

    @property
    def doubled(self) -> int:
        return len(self.numbers) - len(set(self.numbers))


class Sink:
    """The process, as the measures see it."""

    def __init__(self) -> None:
        self._child = Child("tests.load.sink")
        self.port = int(self._child.told()["port"])

    def delay(self, seconds: float, *, every: int = 1) -> None:
        """From now on it waits so long before it answers a final dot, or every so many-th."""
        self._child.ask({"delay": seconds, "every": every})

    def answered(self) -> int:
        """Of the mails that have arrived since the last `take`, those that were answered."""
        return int(self._child.ask({})["answered"])

    def count(self) -> int:
        """Mails that have arrived since the last `take`."""
        return int(self._child.ask({})["count"])

    def take(self) -> Mails:
        """What has arrived; it is forgotten there."""
        return Mails(**self._child.ask({"take": True}))

    @property
    def pid(self) -> int:
        return self._child.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.__exit__()


# --- in the process ---------------------------------------------------------------------------------------------------


@dataclass
class Taken:
    delay: float = 0.0
    every: int = 1
    answered: int = 0
    numbers: list[int] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)


class Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, taken: Taken) -> None:
        self._taken = taken
        self._received = bytearray()
        self._in_mail = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._received += data
        answers: list[bytes] = []
        while (part := self._part()) is not None:
            answers.append(self._mail(part) if self._in_mail else self._command(part))
        if answers:
            self._transport.write(b"".join(answers))

    def _part(self) -> bytes | None:
        """The next command or mail, if it is all there."""
        end = b"\r\n.\r\n" if self._in_mail else b"\r\n"
        found = self._received.find(end)
        if found < 0:
            return None
        part = bytes(self._received[:found])
        del self._received[: found + len(end)]
        return part

    def _command(self, line: bytes) -> bytes:
        match line[:4].upper():
            case b"EHLO":
                return HELLO
            case b"DATA":
                self._in_mail = True
                return b"354 go on\r\n"
            case b"QUIT":
                self._transport.close()
                return b""
        return b"250 ok\r\n"

    def _mail(self, mail: bytes) -> bytes:
        self._in_mail = False
        number = NUMBER.search(mail)
        self._taken.at.append(time.monotonic())
        self._taken.numbers.append(int(number[1]) if number is not None else -1)
        delay = self._taken.delay if len(self._taken.at) % self._taken.every == 0 else 0.0
        self._taken.delays.append(delay)
        if delay:
            asyncio.get_running_loop().call_later(delay, self._answer_late)
            return b""
        self._taken.answered += 1
        return b"250 taken\r\n"

    def _answer_late(self) -> None:
        self._taken.answered += 1
        self._transport.write(b"250 taken\r\n")


async def _serve() -> None:
    taken, loop, over = Taken(), asyncio.get_running_loop(), asyncio.Event()
    server = await loop.create_server(lambda: Session(taken), "127.0.0.1", 0, backlog=1000)
    _tell({"port": server.sockets[0].getsockname()[1]})

    def asked() -> None:
        line = sys.stdin.buffer.readline()
        if not line:
            over.set()
            return
        question = json.loads(line)
        taken.delay, taken.every = question.get("delay", taken.delay), question.get("every", taken.every)
        if "take" in question:
            _tell({"numbers": taken.numbers, "at": taken.at, "delays": taken.delays})
            taken.numbers, taken.at, taken.delays, taken.answered = [], [], [], 0
        else:
            _tell({"count": len(taken.at), "answered": taken.answered})

    loop.add_reader(sys.stdin.fileno(), asked)
    await over.wait()


def _tell(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(_serve())
