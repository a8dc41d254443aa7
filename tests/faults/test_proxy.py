"""The proxy is transparent by default, and finds the watched piece however the stream is split into chunks."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.faults.proxy import Cut, Proxy, loop, proxy
from tests.faults.wire import Commits, Confirms, FinalDots, Nothing, Requests, Watch

ACK = b"\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50\x00\x00\x00\x00\x00\x00\x00\x07\x00\xce"
HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
BODY = b"\x03\x00\x01\x00\x00\x00\x1e" + ACK + b"123456789" + b"\xce"  # it only holds what looks like a confirm
COMMIT = b"\x07\x00\x00\x00\x03COMMIT"
QUERY = b"\x10\x00\x00\x00\x03SELECT 'COMMIT'"
PING = b"\x01\x00\x00\x00\x0e"
POST = b"POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n"
PATIENCE = 60.0  # seconds; everything is far quicker, unless the machine is busy

STREAMS = [
    (Nothing, [HEARTBEAT, BODY, ACK], ACK, 0),
    (Confirms, [HEARTBEAT, BODY, HEARTBEAT, ACK, ACK, HEARTBEAT], ACK, 2),
    (Commits, [PING, QUERY, COMMIT, PING, COMMIT], COMMIT, 2),
    (FinalDots, [b"DATA\r\n", b"a.\r\n..\r\n.b\r\n", b".\r\n", b"RSET\r\n", b"DATA\r\n", b".\r\n"], b".\r\n", 2),
    (Requests, [POST, GET, POST], b"o", 2),
]


@pytest.mark.parametrize(("watch", "stream", "wanted", "times"), STREAMS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 20, 1000])
def test_a_watch_passes_every_byte_and_finds_its_piece(
    watch: type[Watch], stream: list[bytes], wanted: bytes, times: int, size: int
) -> None:
    whole, watching = b"".join(stream), watch()
    chunks = [whole[at : at + size] for at in range(0, len(whole), size)]
    pieces = [piece for chunk in chunks for piece in watching.pieces(chunk)]
    assert b"".join(data for data, _ in pieces) == whole
    assert [data for data, found in pieces if found] == [wanted] * times


class Echo:
    """A server that answers any data, and records the data of each connection."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self._talks: list[tuple[threading.Thread, bytearray]] = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                taken, _ = self.listener.accept()
                got = bytearray()
                thread = threading.Thread(target=self._answer, args=[taken, got], daemon=True)
                self._talks.append((thread, got))
                thread.start()

    def _answer(self, taken: socket.socket, got: bytearray) -> None:
        with taken, contextlib.suppress(OSError):
            while data := taken.recv(65536):
                got += data
                taken.sendall(data)

    def got(self) -> bytes:
        """Everything, once its connections have ended: it may read what was sent a moment after that was cut off."""
        for thread, _ in self._talks:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a connection did not end"
        return b"".join(got for _, got in self._talks)


@pytest.fixture
def echo() -> Iterator[Echo]:
    made = Echo()
    with made.listener:
        yield made


@pytest.fixture
def between(echo: Echo) -> Iterator[Proxy]:
    with loop() as running, proxy(running, Commits, echo.port) as made:
        yield made


def connected(between: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", between.port), timeout=PATIENCE)


def asked(client: socket.socket, data: bytes) -> bytes:
    client.sendall(data)
    answer = b""
    while len(answer) < len(data) and (part := client.recv(65536)):
        answer += part
    return answer


def test_it_passes_all_data_and_the_close(between: Proxy) -> None:
    with connected(between) as client:
        assert asked(client, QUERY * 10_000) == QUERY * 10_000
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_byte_by_byte_it_loses_no_data(between: Proxy) -> None:
    with connected(between) as client, between.drip():
        assert asked(client, QUERY * 20) == QUERY * 20


@pytest.mark.parametrize(("cut", "arrives"), [(Cut.BEFORE, False), (Cut.AFTER, True), (Cut.AT_REPLY, True)])
def test_it_cuts_at_the_watched_piece(echo: Echo, between: Proxy, cut: Cut, arrives: bool) -> None:
    with between.cut_at(cut, times=1, every=2) as cutting:
        with connected(between) as client:
            assert asked(client, COMMIT) == COMMIT  # the first is not the second
            with pytest.raises(ConnectionResetError):
                asked(client, COMMIT)
        assert cutting.used == 1
    with connected(between) as client:
        assert asked(client, PING) == PING
    assert echo.got().count(COMMIT) == 1 + arrives


def test_half_open_connections_stay_dead_and_new_ones_live(between: Proxy) -> None:
    with connected(between) as old:
        assert asked(old, PING) == PING
        with between.half_open(), connected(between) as meanwhile:
            old.sendall(PING)
            meanwhile.sendall(PING)
            meanwhile.settimeout(0.2)
            with pytest.raises(TimeoutError):
                meanwhile.recv(1)
        with connected(between) as new:
            assert asked(new, PING) == PING
        old.settimeout(0.2)
        with pytest.raises(TimeoutError):
            old.recv(1)


def test_while_the_server_is_down_connections_are_refused(echo: Echo, between: Proxy) -> None:
    port = echo.port
    echo.listener.shutdown(socket.SHUT_RDWR)
    echo.listener.close()
    with pytest.raises(ConnectionResetError), connected(between) as client:
        client.recv(1)
    with pytest.raises(ConnectionRefusedError):
        connected(between)
    with socket.create_server(("127.0.0.1", port)), connected_within(between):
        pass


@contextlib.contextmanager
def connected_within(between: Proxy, seconds: float = PATIENCE) -> Iterator[None]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionRefusedError), connected(between):
            yield
            return
        time.sleep(0.05)
    raise AssertionError("still refused")
