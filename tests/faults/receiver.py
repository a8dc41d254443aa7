"""A receiver of webhooks that may be down, slow or lying. It gets those of every endpoint.

It keeps what it has taken. Like a real one it may take a webhook whose answer is then lost, so the same comes again.
"""

import contextlib
import http.client
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

HOST = "127.0.0.1"
PATIENCE = 30.0  # seconds for one request
HUGE = 64 * 1024 * 1024  # bytes
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(frozen=True, kw_only=True)
class Post:
    """A request that was read to its end."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    at: float  # Unix time
    before: int  # POSTs of this webhook-id to this endpoint that came earlier

    @property
    def id(self) -> str:
        return self.headers.get("webhook-id", "")


Answer = Callable[[socket.socket, Post], bool]
"""Answer a request, and return whether the receiver has taken it. The connection is closed afterwards."""


def ok(connection: socket.socket, _post: Post) -> bool:
    connection.sendall(NO_CONTENT)
    return True


@dataclass(kw_only=True)
class Receiver:
    """Thread-safe."""

    port: int = 0
    answers: dict[str, Answer] = field(default_factory=dict)  # by the endpoint's path; without one: ok
    got: list[Post] = field(default_factory=list)
    taken: list[Post] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)  # requests that are no webhook
    _seen: Counter[tuple[str, str]] = field(default_factory=Counter)  # POSTs by path and id
    _listener: socket.socket | None = None
    _bound: socket.socket | None = None  # keeps the port while it is down
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def up(self) -> None:
        """Twice is harmless."""
        if self._listener is None:
            listener = self._bound or self._on_its_port()
            listener.listen(256)
            self._listener, self._bound = listener, None
            threading.Thread(target=self._serve, args=[listener], name="webhook-receiver", daemon=True).start()

    def down(self) -> None:
        """Connections are refused from now on."""
        if self._listener is not None:
            listener, self._listener = self._listener, None
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()
            self._bound = self._on_its_port()

    def clear(self) -> None:
        self.up()
        with self._lock:
            for kept in (self.answers, self.got, self.taken, self.strange, self._seen):
                kept.clear()

    def close(self) -> None:
        self.down()
        if self._bound is not None:
            self._bound.close()

    def of(self, path: str) -> Sequence[Post]:
        """What this endpoint has got."""
        with self._lock:
            return [post for post in self.got if post.path == path]

    def taken_by(self, path: str) -> Sequence[Post]:
        with self._lock:
            return [post for post in self.taken if post.path == path]

    def _on_its_port(self) -> socket.socket:
        """Bound, and not listening yet: it refuses connections."""
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, self.port))
        self.port = bound.getsockname()[1]
        return bound

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._handle, args=[connection], name="webhook", daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE)
        with contextlib.closing(connection), contextlib.suppress(OSError, ValueError):
            post = self._read(connection)
            if post is None:
                return
            with self._lock:
                answer = self.answers.get(post.path, ok)
            taken = False
            try:
                taken = answer(connection, post)
            except OSError:
                taken = True  # its work is done, and the caller is gone
            finally:
                if taken:
                    with self._lock:
                        self.taken.append(post)

    def _read(self, connection: socket.socket) -> Post | None:
        with connection.makefile("rb") as stream:
            method, path, _ = stream.readline(4096).decode("ascii").split(" ")
            headers = {name.lower(): value for name, value in http.client.parse_headers(stream).items()}
            body = stream.read(int(headers.get("content-length", "0")))
        if method != "POST" or "webhook-id" not in headers:
            with self._lock:
                self.strange.append(f"{method} {path}")
            return None
        if len(body) != int(headers["content-length"]):
            return None
        with self._lock:
            key = path, headers["webhook-id"]
            post = Post(path=path, headers=headers, body=body, at=time.time(), before=self._seen[key])
            self._seen[key] += 1
            self.got.append(post)
        return post


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    made = Receiver()
    made.up()
    try:
        yield made
    finally:
        made.close()


# --- answers ----------------------------------------------------------------------------------------------------------


def status(line: str, *headers: str, taken: bool = False) -> Answer:
    """An answer without a body. `line`: a status and its phrase."""
    head = "\r\n".join([f"HTTP/1.1 {line}", *headers, "Content-Length: 0", "", ""]).encode()

    def answer(connection: socket.socket, _post: Post) -> bool:
        connection.sendall(head)
        return taken

    return answer


def slow(seconds: float) -> Answer:
    def answer(connection: socket.socket, post: Post) -> bool:
        time.sleep(seconds)
        return ok(connection, post)

    return answer


def held(until: threading.Event) -> Answer:
    """It takes the webhook, and answers later."""

    def answer(connection: socket.socket, post: Post) -> bool:
        until.wait(PATIENCE)
        return ok(connection, post)

    return answer


def reset(*, taken: bool) -> Answer:
    """The connection is reset before an answer."""

    def answer(connection: socket.socket, _post: Post) -> bool:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return taken

    return answer


def raw(*pieces: bytes, taken: bool, pause: float = 0.0) -> Answer:
    """These bytes, and then the connection is closed."""

    def answer(connection: socket.socket, _post: Post) -> bool:
        with contextlib.suppress(OSError):  # the caller did not wait for the end
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
        return taken

    return answer


def huge(connection: socket.socket, _post: Post) -> bool:
    """200, and a body without an end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(HUGE // 65536):
        connection.sendall(bytes(65536))
    return True


def first(answer: Answer, then: Answer = ok) -> Answer:
    """To the first POST of each webhook-id; `then` to those after it."""

    def chosen(connection: socket.socket, post: Post) -> bool:
        return (then if post.before else answer)(connection, post)

    return chosen
