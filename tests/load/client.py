"""The load generator process: `python -m tests.load.client`.

It uses as little CPU as possible: requests are joined from prepared bytes, and only the status and the length of an
answer are read.
"""

import asyncio
import json
import re
import sys
import time
from collections import Counter, deque
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import uvloop

from tests.load.plan import GOOD, MARK, Answers, Plan

LENGTH = re.compile(rb"(?i)\r\ncontent-length: (\d+)\r\n")
GIVE_UP = 60.0  # seconds without any answer
TICK = 0.002
"""Seconds between the requests of a pace, at least; what is due meanwhile goes together. uvloop's timers count whole
milliseconds: a shorter pause would be none, and the generator would take half a core from what it measures."""


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._received = b""
        self.number: int | None = None  # of the request that waits for its answer
        self.begun = time.monotonic()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, number: int, begun: float) -> None:
        self.number, self.begun = number, begun
        if self.transport is None or self.transport.is_closing():
            self._run.lost(self)
        else:
            self.transport.write(self._run.request(number))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return
        length = LENGTH.search(self._received, 0, head + 2)
        if length is not None and len(self._received) - head - 4 >= int(length[1]):
            status, self._received = self._received[9:12].decode(), b""
            self._run.answered(self, status)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.number is not None:
            self._run.lost(self)


class Run:
    """One plan, from its first request to its last answer. Requests are numbered from `first`."""

    def __init__(self, plan: Plan, *, first: int, port: int, key: str) -> None:
        self._plan = plan
        self._port = port
        self._parts = _request(plan, key).split(MARK.encode())
        self._prepared = Path(plan.prepared).read_bytes() if plan.prepared is not None else b""
        self._length = len(self._prepared) // (plan.count or 1)
        self.next = self._first = first
        self._until = float("inf")
        self._waiting = 0  # requests under way
        self._free: deque[Connection] = deque()
        self._due: deque[float] = deque()  # that found no free connection
        self._is_over = False  # no further requests
        self._last = time.monotonic()
        self._statuses: Counter[str] = Counter()
        self._answers: list[tuple[int, float, float]] = []

    def request(self, number: int) -> bytes:
        if self._prepared:
            start = (number - self._first) * self._length
            return self._prepared[start : start + self._length]
        return (b"%08d" % number).join(self._parts)

    async def work(self) -> Answers:
        if self._plan.keep_alive:
            connections = [await self._connected() for _ in range(self._plan.connections)]
            await self._asked(connections)
        else:
            await self._all_at_once()
            connections = []
        self._last = time.monotonic()
        while self._waiting and time.monotonic() < self._last + GIVE_UP:
            await asyncio.sleep(0.01)
        if self._waiting:
            self._statuses["never answered"] += self._waiting
        for connection in connections:
            if connection.transport is not None:
                connection.transport.abort()
        return Answers(
            statuses=dict(self._statuses),
            numbers=[number for number, _, _ in self._answers],
            begun=[begun for _, begun, _ in self._answers],
            ended=[ended for _, _, ended in self._answers],
        )

    async def _connected(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self._port)
        return protocol

    async def _asked(self, connections: list[Connection]) -> None:
        """Return when no further requests are to be sent."""
        if self._plan.seconds is not None:
            self._until = time.monotonic() + self._plan.seconds
        if self._plan.every is not None:
            self._free.extend(connections)
            await self._paced(self._plan.every)
            return
        for connection in connections:
            self._go_on(connection)
        while not self._is_over and time.monotonic() < self._last + GIVE_UP:
            await asyncio.sleep(0.01)

    async def _paced(self, every: float) -> None:
        """A request without a free connection waits for one; its latency counts from its scheduled time."""
        due = time.monotonic()
        while not self._ended():
            while due <= time.monotonic() and not self._ended():
                self._due.append(due)
                due += every
                self._hand_out()
            await asyncio.sleep(max(TICK, due - time.monotonic()))
        self._is_over = True

    def _hand_out(self) -> None:
        while self._due and self._free:
            self._begin(self._free.popleft(), self._due.popleft())

    async def _all_at_once(self) -> None:
        async def one() -> None:
            begun = time.monotonic()
            try:
                connection = await self._connected()
            except OSError as error:
                self._statuses[type(error).__name__] += 1
            else:
                self._begin(connection, begun)

        await asyncio.gather(*(one() for _ in range(self._plan.connections)))

    def _ended(self) -> bool:
        made = self.next - self._first + len(self._due)
        return (self._plan.count is not None and made >= self._plan.count) or time.monotonic() > self._until

    def _begin(self, connection: Connection, begun: float) -> None:
        number = self.next
        self.next += 1
        self._waiting += 1
        connection.ask(number, begun)

    def _go_on(self, connection: Connection) -> None:
        if self._plan.every is not None:
            self._free.append(connection)
            self._hand_out()
        elif not self._plan.keep_alive:
            return
        elif self._ended():
            self._is_over = True
        else:
            self._begin(connection, time.monotonic())

    def answered(self, connection: Connection, status: str) -> None:
        self._last = time.monotonic()
        self._waiting -= 1
        self._statuses[status] += 1
        if status in GOOD and connection.number is not None:
            self._answers.append((connection.number, connection.begun, self._last))
        connection.number = None
        self._go_on(connection)

    def lost(self, connection: Connection) -> None:
        """Without an answer; the plan goes on with one connection less."""
        self._waiting -= 1
        connection.number = None
        self._statuses["connection lost"] += 1


def _request(plan: Plan, key: str) -> bytes:
    body = plan.body.encode()
    close = "" if plan.keep_alive else "Connection: close\r\n"
    head = (
        f"POST /v1/notifications HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{close}\r\n"
    )
    return head.encode() + body


async def _worked(order: dict[str, Any]) -> dict[str, Any]:
    run = Run(Plan(**order["plan"]), first=order["first"], port=order["port"], key=order["key"])
    return {"answers": asdict(await run.work()), "next": run.next}


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(uvloop.run(_worked(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
