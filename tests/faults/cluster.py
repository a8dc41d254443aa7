"""A RabbitMQ cluster of three nodes, whose network can be cut."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.services.rabbitmq import RabbitMQ
from tests.faults import proxy
from tests.faults.epmd import epmd, registered
from tests.faults.proxy import Proxy
from tests.faults.wire import Nothing

NODES = ("one", "two", "three")
TICK = 8  # seconds of silence after which a node counts as down; the default is 60
CONFIGURATION = (
    "cluster_partition_handling = pause_minority",  # as RabbitMQ's operator for Kubernetes sets it
    f"net_ticktime = {TICK}",
    "cluster_formation.peer_discovery_backend = classic_config",
)
QUEUES = """
    rabbit_json:encode([
        #{name => Name, leader => Leader, members => Members, online => Online}
        || [{name, {resource, _, queue, Name}}, {leader, Leader}, {members, Members}, {online, Online}]
        <- rabbit_amqqueue:info_all(<<"/">>, [name, leader, members, online])
    ]).
"""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    nodes: Sequence[RabbitMQ]
    ways: Mapping[tuple[str, str], Proxy]  # from a node to another, by their names left of the @

    @contextlib.contextmanager
    def cut_off(self, node: RabbitMQ) -> Iterator[None]:
        """Drop all traffic between this node and the others for the block, without closing connections. Clients still
        reach it."""
        name = _short(node)
        with contextlib.ExitStack() as stack:
            for ends, way in self.ways.items():
                if name in ends:
                    stack.enter_context(way.half_open())
            yield

    def others(self, node: RabbitMQ) -> Sequence[RabbitMQ]:
        return [other for other in self.nodes if other is not node]

    def queues(self, *, seen_by: RabbitMQ) -> Sequence[Mapping[str, Any]]:
        """Of each: `name`, `leader`, `members` and `online`, the latter two lists of nodes.

        Not `list_queues`: there every node connects to the calling program, which it cannot find here.
        """
        told = seen_by.control("eval", QUEUES).strip()  # <<"JSON, its quotes escaped">>
        queues: list[Mapping[str, Any]] = json.loads(json.loads(told.removeprefix("<<").removesuffix(">>")))
        return queues


@contextlib.contextmanager
def clustered(folder: Path) -> Iterator[Cluster]:
    """Each node has its own port mapper, in which the ports of the others are proxies."""
    with contextlib.ExitStack() as stack:
        loop = stack.enter_context(proxy.loop())
        mappers = {name: stack.enter_context(epmd(folder / f"epmd-{name}")) for name in NODES}
        pairs = [(one, other) for one in NODES for other in NODES if one != other]
        ways = {pair: stack.enter_context(proxy.proxy(loop, Nothing)) for pair in pairs}
        nodes: list[RabbitMQ] = []
        for name in NODES:
            others = {other: ways[name, other].port for other in NODES if other != name}
            stack.enter_context(registered(mappers[name], others))
            node = _node(folder, name, mappers[name], nodes[0] if nodes else None)
            nodes.append(stack.enter_context(node))
            for (_, to), way in ways.items():
                if to == name:
                    way.server = node.distribution
        nodes[0].control("await_online_nodes", str(len(NODES)))
        yield Cluster(nodes=nodes, ways=ways)


def _node(folder: Path, name: str, mapper: int, first: RabbitMQ | None) -> RabbitMQ:
    join = [f"cluster_formation.classic_config.nodes.1 = {first.node}"] if first is not None else []
    return RabbitMQ(
        folder / f"rabbitmq-{name}",
        node=name,
        epmd=mapper,
        configuration=[*CONFIGURATION, *join],
        beside=first,
    )


def _short(node: RabbitMQ) -> str:
    return node.node.partition("@")[0]
