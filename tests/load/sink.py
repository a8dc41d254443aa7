"""A server process that accepts every mail, SMS and push, and records the time: `python -m tests.load.sink`."""

import asyncio
import json
import re
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Self, cast

import uvloop

from tests.load.child import Child
from tests.load.vendors import Vendor

NUMBER = re.compile(rb"\r\nSubject: n(\d{8})")
HELLO = b"250-sink\r\n250-PIPELINING\r\n250 SIZE 20000000\r\n"


@dataclass(frozen=True)
class Taken:
    """Received messages: number, and monotonic time in seconds of the last byte."""

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
    """The interface of the process for the measures."""

    def __init__(self) -> None:
        self._child = Child("tests.load.sink")
        told = self._child.told()
        self.port = int(told["port"])  # of SMTP
        self.http_port = int(told["http_port"])

    def delay(self, seconds: float, *, every: int = 1) -> None:
        """Set the delay before it answers a mail's final dot or a message; or only every n-th."""
        self._child.ask({"delay": seconds, "every": every})

    def answered(self) -> int:
        """Of the mails that have arrived since the last `take`, those that were answered."""
        return int(self._child.ask({})["answered"])

    def count(self) -> int:
        """Messages that have arrived since the last `take`."""
        return int(self._child.ask({})["count"])

    def take(self) -> Taken:
        """Take the received messages; the sink forgets them."""
        return Taken(**self._child.ask({"take": True}))

    @property
    def pid(self) -> int:
        return self._child.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.__exit__()


# --- in the process ---------------------------------------------------------------------------------------------------


@dataclass
class Record:
    """What has arrived so far."""

    delay: float = 0.0
    every: int = 1
    answered: int = 0
    numbers: list[int] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)

    def take(self, number: int) -> float:
        """The seconds to wait before it is answered."""
        self.at.append(time.monotonic())
        self.numbers.append(number)
        self.delays.append(self.delay if len(self.at) % self.every == 0 else 0.0)
        return self.delays[-1]


class Session(asyncio.Protocol):
    """One connection of SMTP."""

    def __init__(self, record: Record) -> None:
        self._record = record
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
        delay = self._record.take(int(number[1]) if number is not None else -1)
        if delay:
            asyncio.get_running_loop().call_later(delay, self._answer_late)
            return b""
        self._record.answered += 1
        return b"250 taken\r\n"

    def _answer_late(self) -> None:
        self._record.answered += 1
        self._transport.write(b"250 taken\r\n")


async def _serve() -> None:
    record, loop, over = Record(), asyncio.get_running_loop(), asyncio.Event()
    smtp = await loop.create_server(lambda: Session(record), "127.0.0.1", 0, backlog=1000)
    http = await loop.create_server(lambda: Vendor(record.take), "127.0.0.1", 0, backlog=1000)
    _tell({"port": smtp.sockets[0].getsockname()[1], "http_port": http.sockets[0].getsockname()[1]})

    def asked() -> None:
        line = sys.stdin.buffer.readline()
        if not line:
            over.set()
            return
        question = json.loads(line)
        record.delay, record.every = question.get("delay", record.delay), question.get("every", record.every)
        if "take" in question:
            _tell({"numbers": record.numbers, "at": record.at, "delays": record.delays})
            record.numbers, record.at, record.delays, record.answered = [], [], [], 0
        else:
            _tell({"count": len(record.at), "answered": record.answered})

    loop.add_reader(sys.stdin.fileno(), asked)
    await over.wait()


def _tell(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    uvloop.run(_serve())
