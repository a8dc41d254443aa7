"""Hostile callers, a process: `python -m tests.load.hostile_callers PORT KEY`, until its input ends.

Each kind has a thread, which sends as fast as it is answered. The last kind has a key, the others have none.
"""

import json
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

MIB = 1024 * 1024
PATIENCE = 5.0  # seconds for an answer
POST = b"POST /v1/notifications HTTP/1.1\r\nhost: x\r\n"

ended = threading.Event()


def _sent(port: int, *parts: bytes) -> None:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as one:
        for part in parts:
            one.sendall(part)
        one.recv(65536)


def body_without_key(port: int) -> None:
    _sent(port, b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (16 * MIB), bytes(16 * MIB - 1))


def large_head(port: int) -> None:
    _sent(port, b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: ", *[b"x" * MIB] * 8)


def readiness(port: int) -> None:
    _sent(port, b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")


def wrong_key(port: int) -> None:
    _sent(port, POST + b"authorization: Bearer tdg_wrong\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")


def half_sent(port: int, held: list[socket.socket]) -> None:
    """200 requests that are never completed; closed ones are opened again."""
    with suppress(OSError):
        if len(held) < 200:
            held.append(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
            held[-1].sendall(POST + b"x-slow: ")
            return
        one = held.pop(0)
        with suppress(BlockingIOError):
            one.setblocking(False)
            if not one.recv(1, socket.MSG_PEEK):
                one.close()
                return
        held.append(one)
    ended.wait(0.05)


def absurd_body(port: int, key: bytes) -> None:
    body = json.dumps({"channel": "email", "recipient": "a@example.com", "content": {"cc": ["a"] * 200_000}}).encode()
    _sent(port, POST + b"authorization: Bearer %s\r\ncontent-length: %d\r\n\r\n" % (key, len(body)), body)


def again_and_again(work: Callable[[], None]) -> None:
    while not ended.is_set():
        work()


def main(port: int, key: bytes) -> None:
    held: list[socket.socket] = []
    kinds: list[Callable[[], None]] = [
        lambda: body_without_key(port),
        lambda: large_head(port),
        lambda: readiness(port),
        lambda: wrong_key(port),
        lambda: half_sent(port, held),
        lambda: absurd_body(port, key),
    ]
    threads = [threading.Thread(target=again_and_again, args=(work,), daemon=True) for work in kinds]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.read()
    ended.set()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2].encode())
