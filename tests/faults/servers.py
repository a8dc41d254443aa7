"""RabbitMQ and MariaDB: killed, stopped, hung, and less than whole."""

import signal
import time

from tests.faults.fault import Fault, Scene, let_go
from tests.faults.world import wait


def rabbitmq_killed(scene: Scene) -> None:
    let_go(scene)
    scene.world.rabbitmq.kill()
    time.sleep(3)  # how long it is gone
    scene.world.rabbitmq.start()


def rabbitmq_stopped(scene: Scene) -> None:
    let_go(scene)
    scene.world.rabbitmq.stop()
    time.sleep(3)
    scene.world.rabbitmq.start()


def rabbitmq_hung(scene: Scene) -> None:
    let_go(scene)
    scene.world.rabbitmq.pause()
    try:
        time.sleep(10)
    finally:
        scene.world.rabbitmq.resume()


def queue_deleted(scene: Scene) -> None:
    """With all that waits in it."""
    with scene.world.channel() as channel:
        channel.queue_delete("tidings.email")
    scene.world.tell("trigger", signal.SIGCONT)
    wait("the queue, made again", lambda: scene.world.waiting_in("tidings.email") >= 0)


def mariadb_killed(scene: Scene) -> None:
    let_go(scene)
    scene.world.mariadb.kill()
    time.sleep(3)
    scene.world.mariadb.start()


def mariadb_hung(scene: Scene) -> None:
    let_go(scene)
    scene.world.mariadb.pause()
    try:
        time.sleep(8)
    finally:
        scene.world.mariadb.resume()


FAULTS = (
    Fault(name="RabbitMQ killed", inject=rabbitmq_killed, quick=True),
    Fault(name="RabbitMQ stopped", inject=rabbitmq_stopped),
    Fault(name="RabbitMQ hung for 10 s", inject=rabbitmq_hung),
    Fault(name="a work queue deleted", inject=queue_deleted, within=150),
    Fault(name="MariaDB killed", inject=mariadb_killed, quick=True, may_double=True),
    Fault(name="MariaDB hung for 8 s", inject=mariadb_hung, may_double=True),
)
