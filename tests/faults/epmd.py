"""Erlang's port mapper, one per node: the ports that it knows for the other nodes are our proxies.

So each connection between two nodes can be cut, without the right to change the machine's network.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

from local.services.access import accepts, free_port
from local.services.packages import epmd_program
from local.services.process import SupervisedProcess, locked, wait_until

HOST = "127.0.0.1"
WITHIN = timedelta(seconds=30)

# https://www.erlang.org/doc/apps/erts/erl_dist_protocol.html#register-a-node-in-epmd
ALIVE2_REQ, ALIVE2_RESP, ALIVE2_X_RESP = 120, 121, 118
NODE, TCP, HIGHEST, LOWEST = 77, 0, 6, 5


@contextlib.contextmanager
def epmd(folder: Path) -> Iterator[int]:
    """Start one without entries; its port."""
    folder.mkdir()
    port, log = free_port(), folder / "epmd.log"
    with locked(folder / "lock", within=WITHIN) as lock:
        process = SupervisedProcess.start(
            [epmd_program(), "-port", str(port), "-address", HOST],
            environment=os.environ,
            log=log,
            lock=lock,
            grace=WITHIN,
        )
        try:
            wait_until(lambda: accepts(port), process, name="epmd", within=WITHIN, log=log)
            yield port
        finally:
            process.stop()


@contextlib.contextmanager
def registered(port: int, nodes: Mapping[str, int]) -> Iterator[None]:
    """For the block, this epmd has these nodes (left of the @) at these ports."""
    with contextlib.ExitStack() as stack:
        for name, at in nodes.items():
            known = stack.enter_context(socket.create_connection((HOST, port), timeout=WITHIN.total_seconds()))
            _register(known, name.encode(), at)
        yield


def _register(known: socket.socket, name: bytes, at: int) -> None:
    """Registered as long as this connection is open."""
    numbers = struct.pack(">BHBBHHH", ALIVE2_REQ, at, NODE, TCP, HIGHEST, LOWEST, len(name))
    request = numbers + name + struct.pack(">H", 0)
    known.sendall(struct.pack(">H", len(request)) + request)
    answer = known.recv(6)
    assert (answer[0], answer[1]) in ((ALIVE2_RESP, 0), (ALIVE2_X_RESP, 0)), answer
