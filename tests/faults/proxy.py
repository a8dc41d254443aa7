"""A TCP proxy that can cut connections, drop their data, or slow them to single bytes; otherwise it is transparent.

It buffers at most one chunk per direction, so that backpressure works as without it. While its server is down, it
refuses connections like the server's own port.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeVar

from tests.faults.wire import Watch

HOST = "127.0.0.1"
CHUNK = 65536  # bytes
PROBE_EVERY = 0.05  # seconds
T = TypeVar("T")


class Cut(Enum):
    """Where to cut a connection, relative to the watched piece."""

    BEFORE = auto()  # it does not arrive
    AFTER = auto()  # it arrives
    AT_REPLY = auto()  # it arrives, and its answer does not


@dataclass(kw_only=True)
class Cutting:
    """Cut at every n-th watched piece, a number of times."""

    cut: Cut
    times: int
    every: int = 1
    used: int = 0
    _seen: int = 0

    def strikes(self) -> bool:
        self._seen += 1
        if self.used == self.times or self._seen % self.every:
            return False
        self.used += 1
        return True


@dataclass(kw_only=True, eq=False)
class Proxy:
    """Public methods are thread-safe; methods with an underscore run in the event loop's thread."""

    loop: asyncio.AbstractEventLoop
    watch: Callable[[], Watch]
    server: int = 0  # the port behind it
    port: int = 0
    silent: bool = False
    dripping: bool = False
    cutting: Cutting | None = None
    _connections: set["Connection"] = field(default_factory=set)
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)
    _listener: socket.socket | None = None
    _returning: "asyncio.Task[None] | None" = None

    def through(self, url: str) -> str:
        """The URL with this proxy's port."""
        return url.replace(f":{self.server}/", f":{self.port}/")

    def cut(self) -> None:
        """Cut every connection now."""
        self._ask(self._cut())

    @contextlib.contextmanager
    def half_open(self) -> Iterator[None]:
        """For the block, connections stay open without traffic, new ones too. These connections stay dead afterwards;
        later ones work."""
        self._ask(self._silence())
        try:
            yield
        finally:
            self.silent = False

    @contextlib.contextmanager
    def drip(self) -> Iterator[None]:
        """For the block, pass one byte at a time in both directions."""
        self.dripping = True
        try:
            yield
        finally:
            self.dripping = False

    @contextlib.contextmanager
    def cut_at(self, cut: Cut, *, times: int, every: int = 1) -> Iterator[Cutting]:
        """Cut at the watched piece; `used` of the result counts the cuts."""
        self.cutting = Cutting(cut=cut, times=times, every=every)
        try:
            yield self.cutting
        finally:
            self.cutting = None

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    # --- in the loop --------------------------------------------------------------------------------------------------

    async def _cut(self) -> None:
        for connection in [*self._connections]:
            connection.cut()

    async def _silence(self) -> None:
        self.silent = True
        for connection in self._connections:
            connection.dead = True

    async def _listen(self) -> None:
        # Not asyncio's server: if it is closed during an accept, it leaks that socket.
        self._listener = socket.create_server((HOST, self.port), backlog=512)
        self._listener.setblocking(False)
        self.loop.add_reader(self._listener, self._take, self._listener)

    def _take(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            task = self.loop.create_task(self._serve(listener.accept()[0]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _refuse(self) -> None:
        if self._listener is not None:
            self.loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def _serve(self, taken: socket.socket) -> None:
        client = Side.of(*await asyncio.open_connection(sock=taken))
        try:
            connection = Connection(proxy=self, client=client, server=await self._onward())
        except OSError:
            if self._listener is not None:  # else another saw it too
                self._refuse()
                self._returning = self.loop.create_task(self._return())
            client.reset()
            return
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)

    async def _onward(self) -> "Side | None":
        """None: drop everything."""
        return None if self.silent else Side.of(*await asyncio.open_connection(HOST, self.server))

    async def _return(self) -> None:
        """Wait for the server; until then the proxy does not listen."""
        while True:
            with contextlib.suppress(OSError):
                Side.of(*await asyncio.open_connection(HOST, self.server)).reset()
                break
            await asyncio.sleep(PROBE_EVERY)
        await self._listen()

    async def _stop(self) -> None:
        self._refuse()
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.wait([self._returning])
        ended = asyncio.gather(*self._tasks)
        while not ended.done():  # accepted a moment ago, connected only now
            await self._cut()
            await asyncio.wait([ended], timeout=0.05)
        await ended


@dataclass(frozen=True, kw_only=True)
class Side:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    def of(cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> "Side":
        writer.transport.set_write_buffer_limits(0)  # so `drain` returns when the kernel has all data
        return cls(reader=reader, writer=writer)

    def reset(self) -> None:
        """RST, not FIN: unread data are lost."""
        with contextlib.suppress(OSError):
            connection: socket.socket = self.writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@dataclass(kw_only=True, eq=False)
class Connection:
    proxy: Proxy
    client: Side
    server: Side | None
    dead: bool = False  # it stays open without traffic
    watch: Watch = field(init=False)
    _owed: bool = False  # the server's next data are the answer, which is dropped

    def __post_init__(self) -> None:
        self.watch = self.proxy.watch()
        self.dead = self.proxy.silent or self.server is None

    def cut(self) -> None:
        self.client.reset()
        if self.server is not None:
            self.server.reset()

    async def run(self) -> None:
        if self.server is None:
            await self._copy(self.client, self.client)
        else:
            await asyncio.gather(self._copy(self.client, self.server), self._copy(self.server, self.client))
            self.server.writer.close()
        self.client.writer.close()

    async def _copy(self, source: Side, target: Side) -> None:
        watched = self.watch.from_client == (source is self.client)
        try:
            while chunk := await source.reader.read(CHUNK):
                if self.dead:
                    continue
                if self._owed and source is self.server:
                    self.cut()
                    return
                for data, struck in self.watch.pieces(chunk) if watched else ((chunk, False),):
                    await self._pass(data, target, self.proxy.cutting if struck else None)
            if not self.dead:
                target.writer.write_eof()
        except OSError:
            if not self.dead:
                self.cut()
        if self.dead:
            source.writer.close()  # the other side does not notice

    async def _pass(self, data: bytes, target: Side, cutting: Cutting | None) -> None:
        strikes = cutting is not None and cutting.strikes()
        cut = cutting.cut if cutting is not None and strikes else None
        if cut is Cut.BEFORE:
            raise ConnectionResetError
        self._owed = self._owed or cut is Cut.AT_REPLY
        await self._write(data, target)
        if cut is Cut.AFTER:
            raise ConnectionResetError

    async def _write(self, data: bytes, target: Side) -> None:
        at = 0
        while at < len(data) and not self.dead:
            end = at + 1 if self.proxy.dripping else len(data)
            target.writer.write(data[at:end])
            await target.writer.drain()
            await asyncio.sleep(0)  # `drain` alone does not yield to other tasks
            at = end


@contextlib.contextmanager
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread, for proxies."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever, name="proxies", daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.call_soon_threadsafe(made.stop)
        thread.join()
        made.close()


@contextlib.contextmanager
def proxy(loop: asyncio.AbstractEventLoop, watch: Callable[[], Watch], server: int = 0) -> Iterator[Proxy]:
    """A proxy for this port, which can also be set later."""
    with socket.socket() as reserved:  # reserved, so that no other process gets the port
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((HOST, 0))
        made = Proxy(loop=loop, watch=watch, server=server, port=reserved.getsockname()[1])
        made._ask(made._listen())
        try:
            yield made
        finally:
            made._ask(made._stop())
