"""A RabbitMQ cluster of three: the node that leads the work queues, and is used by Tidings, is killed or cut off."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tidings.messaging import topology

from local.services.access import accepts
from local.services.mariadb import MariaDB
from local.services.rabbitmq import RabbitMQ
from tests.faults.cluster import NODES, Cluster, clustered
from tests.faults.fault import Fault, Scene, let_go
from tests.faults.world import Servers, wait, world

NOTICED = 1.0  # seconds after which the load balancer switches to another node
AWAY = 10.0  # seconds that the node stays down
COMPLETE_WITHIN = 180.0  # seconds: a restarted node may wait for its tables for a minute
WORK = topology.work_queues("email")[1]


@contextlib.contextmanager
def three_nodes(folder: Path) -> Iterator[Servers]:
    with clustered(folder) as cluster, MariaDB(folder / "mariadb") as mariadb:
        yield Servers(rabbitmq=cluster.nodes[0], mariadb=mariadb, cluster=cluster)


def killed(scene: Scene) -> None:
    leader = _leader(scene)
    let_go(scene)
    leader.kill()
    time.sleep(NOTICED)
    _lead_elsewhere(scene)
    time.sleep(AWAY)
    leader.start()
    _complete(scene)


def cut_off(scene: Scene) -> None:
    """Connections between it and the others stay open without traffic, until they time out. Tidings still reaches it,
    but gets no confirms. When the node detects the partition it pauses and closes its clients' connections; the load
    balancer then leads them to the others."""
    leader = _leader(scene)
    let_go(scene)
    begun = time.monotonic()
    with _cluster(scene).cut_off(leader):
        wait("its pause", lambda: not accepts(leader.port))
        scene.notes.append(f"{leader.node} paused {time.monotonic() - begun:.1f} s after it was cut off")
        _lead_elsewhere(scene)
        time.sleep(AWAY)
    _complete(scene)
    scene.notes.append(f"intake took at most {scene.load.slowest:.1f} s to answer a single one")


def _cluster(scene: Scene) -> Cluster:
    cluster = scene.world.servers.cluster
    assert cluster is not None, "this world has no cluster"
    return cluster


def _leader(scene: Scene) -> RabbitMQ:
    """The node that leads a work queue. Tidings is connected to it; this test is connected to another."""
    servers, way, cluster = scene.world.servers, scene.world.network.rabbitmq, _cluster(scene)
    leaders = {queue["name"]: queue["leader"] for queue in _members(scene)}
    leader = next(node for node in cluster.nodes if node.node == leaders[WORK])
    servers.rabbitmq = cluster.others(leader)[0]
    if way.server != leader.port:
        way.server = leader.port
        way.cut()
    led = sum(node == leader.node for node in leaders.values())
    scene.notes.append(f"{leader.node} led {led} of {len(leaders)} queues, each with {len(NODES)} members")
    return leader


def _members(scene: Scene) -> Sequence[Mapping[str, Any]]:
    """The leader of our queues; each must have a member on every node."""
    queues = _cluster(scene).queues(seen_by=scene.world.rabbitmq)
    alone = [queue for queue in queues if not len(queue["members"]) == len(queue["online"]) == len(NODES)]
    assert not alone, f"not on every node: {alone[:3]}"
    return queues


def _lead_elsewhere(scene: Scene) -> None:
    """Like a load balancer or a Kubernetes Service."""
    scene.world.network.rabbitmq.server = scene.world.rabbitmq.port


def _complete(scene: Scene) -> None:
    """Wait until every queue has a member on every node."""
    begun = time.monotonic()
    wait("a cluster that is complete", lambda: _members(scene), within=COMPLETE_WITHIN)
    scene.notes.append(f"the cluster was complete {time.monotonic() - begun:.1f} s after the node was back")


CLUSTERED = partial(world, servers=three_nodes)
FAULTS = (
    Fault(name="RabbitMQ cluster of three: leader killed", inject=killed, make_world=CLUSTERED),
    Fault(name="RabbitMQ cluster of three: a node cut off", inject=cut_off, make_world=CLUSTERED),
)
