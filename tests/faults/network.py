"""Network faults between processes: cut, half open, or one byte at a time."""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Literal

from tests.faults.fault import Fault, Scene, let_go
from tests.faults.proxy import Cut, Proxy
from tests.faults.world import wait

Link = Literal["rabbitmq", "mariadb", "smtp", "http"]
PROVIDERS: Sequence[Link] = ("smtp", "http")


def links(scene: Scene, names: Sequence[Link]) -> list[Proxy]:
    return [getattr(scene.world.network, name) for name in names]


def cut_again_and_again(*names: Link) -> Callable[[Scene], None]:
    """Cut all open connections, in the middle of their traffic."""

    def inject(scene: Scene) -> None:
        let_go(scene)
        for _ in range(20):
            for link in links(scene, names):
                link.cut()
            time.sleep(0.2)

    return inject


def half_open(seconds: float, *names: Link) -> Callable[[Scene], None]:
    def inject(scene: Scene) -> None:
        let_go(scene)
        with contextlib.ExitStack() as stack:
            for link in links(scene, names):
                stack.enter_context(link.half_open())
            time.sleep(seconds)

    return inject


def drip(seconds: float, *names: Link) -> Callable[[Scene], None]:
    def inject(scene: Scene) -> None:
        with contextlib.ExitStack() as stack:
            for link in links(scene, names):
                stack.enter_context(link.drip())
            let_go(scene)
            time.sleep(seconds)

    return inject


def cut_at(cut: Cut, *names: Link, times: int, every: int = 1) -> Callable[[Scene], None]:
    """Cut each link at its critical moment, under load: a confirm, a COMMIT, the end of a request."""

    def inject(scene: Scene) -> None:
        with contextlib.ExitStack() as stack:
            cuttings = [stack.enter_context(link.cut_at(cut, times=times, every=every)) for link in links(scene, names)]
            let_go(scene)
            wait(f"{times} cuts", lambda: all(cutting.used == times for cutting in cuttings))

    return inject


FAULTS = (
    Fault(name="network, RabbitMQ: cut for 4 s", inject=cut_again_and_again("rabbitmq")),
    Fault(
        name="network, RabbitMQ: cut before a confirm",
        inject=cut_at(Cut.BEFORE, "rabbitmq", times=20),
        quick=True,
    ),
    Fault(name="network, RabbitMQ: cut after a confirm", inject=cut_at(Cut.AFTER, "rabbitmq", times=20)),
    Fault(name="network, RabbitMQ: half open for 12 s", inject=half_open(12, "rabbitmq")),
    Fault(name="network, RabbitMQ: one byte at a time", inject=drip(5, "rabbitmq")),
    Fault(name="network, MariaDB: cut for 4 s", inject=cut_again_and_again("mariadb")),
    Fault(name="network, MariaDB: a COMMIT that is lost", inject=cut_at(Cut.BEFORE, "mariadb", times=30, every=3)),
    Fault(
        name="network, MariaDB: the reply to COMMIT lost",
        inject=cut_at(Cut.AT_REPLY, "mariadb", times=30, every=3),
        quick=True,
    ),
    Fault(name="network, MariaDB: half open for 8 s", inject=half_open(8, "mariadb"), may_double=True),
    Fault(name="network, MariaDB: half open for 12 s", inject=half_open(12, "mariadb"), may_double=True),
    Fault(name="network, MariaDB: one byte at a time", inject=drip(5, "mariadb")),
    Fault(name="network, providers: cut for 4 s", inject=cut_again_and_again(*PROVIDERS), may_double=True),
    Fault(name="network, providers: cut before the end of a request", inject=cut_at(Cut.BEFORE, *PROVIDERS, times=20)),
    Fault(
        name="network, providers: cut before the answer",
        inject=cut_at(Cut.AT_REPLY, *PROVIDERS, times=20),
        may_double=True,
    ),
    Fault(name="network, providers: half open for 5 s", inject=half_open(5, *PROVIDERS), may_double=True),
    # With many requests under way, single bytes arrive after the time-out.
    Fault(name="network, providers: one byte at a time", inject=drip(5, *PROVIDERS), may_double=True),
)
