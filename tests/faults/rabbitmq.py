"""RabbitMQ killed, stopped, hung, without memory, disk or queue space, and without its queues and exchanges."""

import re
import signal
import time
from collections.abc import Callable

from tidings.domain import timing
from tidings.messaging import topology

from local.services.database import connection
from tests.faults.checks import rows
from tests.faults.fault import Fault, Scene, let_go
from tests.faults.world import wait

Change = tuple[str, ...]
"""Arguments of rabbitmqctl."""

AS_CONFIGURED = (("set_vm_memory_high_watermark", "absolute", "1GB"), ("set_disk_free_limit", "50MB"))
NO_MEMORY: Change = ("set_vm_memory_high_watermark", "absolute", "1MB")
NO_DISK: Change = ("set_disk_free_limit", "1000000GB")


def killed(scene: Scene) -> None:
    let_go(scene)
    scene.world.rabbitmq.kill()
    time.sleep(3)  # seconds that it is down
    scene.world.rabbitmq.start()


def stopped(scene: Scene) -> None:
    let_go(scene)
    scene.world.rabbitmq.stop()
    time.sleep(3)
    scene.world.rabbitmq.start()


def hung(scene: Scene) -> None:
    let_go(scene)
    scene.world.rabbitmq.pause()
    try:
        time.sleep(10)
    finally:
        scene.world.rabbitmq.resume()


def alarm(change: Change) -> Callable[[Scene], None]:
    """Publishers are blocked; consumers go on, so that it can recover."""

    def inject(scene: Scene) -> None:
        rabbitmq = scene.world.rabbitmq
        wait("the load, in its queues", lambda: _not_queued(scene) == 0)  # the last fault is over for all
        rabbitmq.control(*change)
        try:
            let_go(scene)
            wait("publishers that are blocked", lambda: _not_queued(scene) > 3)
        finally:
            for back in AS_CONFIGURED:
                rabbitmq.control(*back)

    return inject


def full(pattern: str, bites: Callable[[Scene], object]) -> Callable[[Scene], None]:
    """An operator's length limit on these queues, which they have reached: publishes to them are refused."""

    def inject(scene: Scene) -> None:
        rabbitmq = scene.world.rabbitmq
        rabbitmq.control("set_policy", "full", f"^{pattern}$", '{"max-length": 0}', "--apply-to", "queues")
        try:
            bites(scene)
        finally:
            rabbitmq.control("clear_policy", "full")

    return inject


def work_queue_refuses(scene: Scene) -> None:
    """Without a consumer, its unacknowledged messages return to the queue, which then exceeds its limit."""
    processes = scene.world.stack.processes
    processes.running["trigger"].kill()
    try:
        wait("refused messages", lambda: _not_queued(scene) > 20)
    finally:
        processes.restart("trigger")
        let_go(scene)


def retry_step_refuses(scene: Scene) -> None:
    scene.world.emulator.fail("email", status=451, enhanced="4.3.0", next=60)
    scene.world.tell("trigger", signal.SIGCONT)
    wait("refused retries", lambda: _said(scene, "email", "broker_unavailable"))
    time.sleep(3)


def dead_queue_refuses(scene: Scene) -> None:
    """Scheduled notifications are sent meanwhile: dead letters that cannot be published must not block the sweep."""
    world, load = scene.world, scene.load
    load.burst(60, never=10)
    world.tell("trigger", signal.SIGCONT)
    wait("letters that are owed", lambda: _letters_owed(scene) > 10)
    time.sleep(6)  # until the sweep comes to them
    due = world.query("SELECT UTC_TIMESTAMP(6) + INTERVAL 1 SECOND")[0][0]
    later = {one.address for one in load.mails(20, send_at=f"{due.isoformat()}Z")}
    wait("what was for later", lambda: {row.status for row in rows(world, load) if row.address in later} == {"sent"})


def queue_deleted(scene: Scene) -> None:
    """Delete it with its messages."""
    with scene.world.channel() as channel:
        channel.queue_delete("tidings.email")
    scene.world.tell("trigger", signal.SIGCONT)
    wait("the queue, made again", lambda: scene.world.waiting_in("tidings.email") >= 0)


def bindings_deleted(scene: Scene) -> None:
    """Delete the exchange of a work queue and of a retry step, three times."""
    step = topology.retry_queue(timing.RETRY_STEPS[0])
    scene.world.emulator.fail("email", status=451, enhanced="4.3.0", next=40)
    let_go(scene)
    for _ in range(3):
        with scene.world.channel() as channel:
            channel.queue_unbind("tidings.email", topology.EXCHANGE, "email")
            channel.queue_unbind(step, step, "")
        wait("the bindings, made again", lambda: {"tidings.email", step} <= _bound(scene))


def exchange_deleted(scene: Scene) -> None:
    let_go(scene)
    for _ in range(3):
        with scene.world.channel() as channel:
            channel.exchange_delete(topology.EXCHANGE)
        wait("the exchange, made again", lambda: "tidings.email" in _bound(scene))


def connections_closed(scene: Scene) -> None:
    """All of them, by an operator."""
    let_go(scene)
    for _ in range(5):
        scene.world.rabbitmq.control("close_all_connections", "maintenance")


def acknowledgements_late(scene: Scene) -> None:
    """The broker redelivers a batch while its function still has it, waiting for its database. A slow provider no
    longer causes that."""
    world = scene.world
    _acknowledge_within(scene, 1000, looked_at=200)
    try:
        with connection(world.database_url) as session, session.cursor() as cursor:
            cursor.execute("LOCK TABLES notifications WRITE, events WRITE")
            world.tell("trigger", signal.SIGCONT)
            wait("a consumer that is too late", lambda: "has timed out waiting" in world.rabbitmq.log.read_text())
            cursor.execute("UNLOCK TABLES")
        time.sleep(3)
    finally:
        _acknowledge_within(scene, 1_800_000, looked_at=60_000)


def _acknowledge_within(scene: Scene, milliseconds: int, *, looked_at: int) -> None:
    values = {"consumer_timeout": milliseconds, "channel_tick_interval": looked_at}
    code = ", ".join(f"application:set_env(rabbit, {name}, {value})" for name, value in values.items())
    scene.world.rabbitmq.control("eval", f"{code}.")
    scene.world.rabbitmq.control("close_all_connections", "a channel reads them once, when it is opened")


def _not_queued(scene: Scene) -> int:
    ids = {one.id for one in scene.load.wanted}
    found = scene.world.query("SELECT id FROM notifications WHERE queued_at IS NULL AND status = 'pending'")
    return len(ids & {id for (id,) in found})


def _letters_owed(scene: Scene) -> int:
    found = scene.world.query("SELECT COUNT(*) FROM notifications WHERE status = 'failed' AND wake_at IS NOT NULL")
    return int(found[0][0])


def _said(scene: Scene, name: str, word: str) -> bool:
    return f'"{word}"' in scene.world.stack.processes.log(name).read_text()


def _bound(scene: Scene) -> set[str]:
    """Queues that we have bound; the default exchange, without a name, is bound to all."""
    told = scene.world.rabbitmq.control("list_bindings", "source_name", "destination_name", "--no-table-headers")
    return {line.split("\t")[1] for line in told.splitlines() if not line.startswith("\t")}


FAULTS = (
    Fault(name="RabbitMQ killed", inject=killed, quick=True),
    Fault(name="RabbitMQ stopped", inject=stopped),
    Fault(name="RabbitMQ hung for 10 s", inject=hung),
    Fault(name="RabbitMQ: memory alarm", inject=alarm(NO_MEMORY)),
    Fault(name="RabbitMQ: disk alarm", inject=alarm(NO_DISK)),
    Fault(name="RabbitMQ: a full work queue", inject=full(re.escape("tidings.email"), work_queue_refuses)),
    Fault(name="RabbitMQ: full retry steps", inject=full(r"tidings\.retry\..*", retry_step_refuses)),
    Fault(name="RabbitMQ: full dead-letter queues", inject=full(r"tidings\..*\.dead", dead_queue_refuses)),
    Fault(name="a work queue deleted", inject=queue_deleted, within=150),
    Fault(name="RabbitMQ: bindings deleted", inject=bindings_deleted),
    Fault(name="RabbitMQ: the exchange deleted", inject=exchange_deleted),
    Fault(name="RabbitMQ: all connections closed", inject=connections_closed),
    Fault(name="RabbitMQ: acknowledgements too late", inject=acknowledgements_late),
)
