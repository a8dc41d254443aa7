"""A node finds another at the port in its own port mapper, as long as that is registered."""

import socket
import struct
from pathlib import Path

from tests.faults.epmd import HOST, epmd, registered
from tests.faults.world import wait

PORT_PLEASE2_REQ, PORT2_RESP = 122, 119
SOMEWHERE = 12345


def port_of(node: bytes, mapper: int) -> int | None:
    """Look up a node, as a node does."""
    with socket.create_connection((HOST, mapper), timeout=30) as asking, asking.makefile("rb") as answer:
        asking.sendall(struct.pack(">HB", len(node) + 1, PORT_PLEASE2_REQ) + node)
        kind, failed = answer.read(2)
        assert kind == PORT2_RESP
        return None if failed else int.from_bytes(answer.read(2), "big")


def test_a_node_is_found_at_the_port_that_was_registered_and_not_afterwards(
    private_servers: None, tmp_path: Path
) -> None:
    with epmd(tmp_path / "epmd") as mapper:
        assert port_of(b"two", mapper) is None
        with registered(mapper, {"two": SOMEWHERE, "three": SOMEWHERE + 1}):
            assert port_of(b"two", mapper) == SOMEWHERE
            assert port_of(b"three", mapper) == SOMEWHERE + 1
        wait("its going", lambda: port_of(b"two", mapper) is None)


def test_each_port_mapper_knows_its_own_nodes_alone(private_servers: None, tmp_path: Path) -> None:
    with epmd(tmp_path / "one") as one, epmd(tmp_path / "two") as two, registered(one, {"two": SOMEWHERE}):
        assert (port_of(b"two", one), port_of(b"two", two)) == (SOMEWHERE, None)
