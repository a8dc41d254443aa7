"""The database's clock, set back while it runs. It decides about due times, leases and expiry."""

import contextlib
import signal
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator
from functools import partial
from pathlib import Path

from local.services.mariadb import MariaDB
from local.services.rabbitmq import RabbitMQ
from tests.faults.checks import UNENDED, addresses_of
from tests.faults.fault import Fault, Scene
from tests.faults.world import Servers, wait, world
from tests.faults.wrong_clock import SettableClock

HOUR = 3600
STAYS = 20.0  # seconds until the clock is corrected: a longer delay would be due to the wrong hour
SOON = 10  # seconds
REASONS = {
    "sending": "their worker had died, and their lease ends by the old time",
    "retrying": "their next attempt is due by the old time",
    "pending": "their `send_at` is due by the old time",
}


@contextlib.contextmanager
def with_a_clock(folder: Path) -> Iterator[Servers]:
    clock = SettableClock.made(folder)
    with RabbitMQ(folder / "rabbitmq") as rabbitmq, MariaDB(folder / "mariadb", environment=clock.environment) as ours:
        yield Servers(rabbitmq=rabbitmq, mariadb=ours, clock=clock)


def set_back(seconds: int) -> Callable[[Scene], None]:
    """While some are being sent, some wait for a retry or their send_at, and some have lost their worker."""

    def inject(scene: Scene) -> None:
        world, clock = scene.world, scene.world.servers.clock
        assert clock is not None, "the clock of this world's database cannot be set"
        world.emulator.fail("email", status=451, enhanced="4.3.0", next=30)
        due = world.query("SELECT UTC_TIMESTAMP(6) + INTERVAL 6 SECOND")[0][0]
        scene.load.mails(10, send_at=f"{due.isoformat()}Z")
        world.arm("delivery.after_claim")
        world.tell("trigger", signal.SIGCONT)
        wait("a worker that dies", lambda: world.struck("delivery.after_claim"))
        before = world.query("SELECT UTC_TIMESTAMP(6)")[0][0]
        clock.set_off(-seconds)
        assert world.query("SELECT UTC_TIMESTAMP(6)")[0][0] < before, "the clock was not set back"
        if seconds < HOUR:
            return
        known = addresses_of(scene.load)
        try:
            scene.load.burst(60)
            time.sleep(STAYS)
            scene.notes += _late(scene, known)
        finally:
            clock.set_off(0)

    return inject


def _late(scene: Scene, known: Container[str]) -> list[str]:
    """The waiting rows, some time after the clock was set back, and what they wait for. `known`: earlier rows."""
    marks = ",".join(["%s"] * len(UNENDED))
    found = scene.world.query(
        f"""SELECT recipient, status, TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(6), CASE status
                WHEN 'sending' THEN lease_until WHEN 'retrying' THEN next_attempt_at ELSE send_at END),
              TIMESTAMPDIFF(SECOND, created_at, UTC_TIMESTAMP(6))
            FROM notifications WHERE tenant = 'local' AND status IN ({marks})""",
        UNENDED,
    )
    ours = addresses_of(scene.load)
    before = [(status, wait) for recipient, status, wait, _ in found if recipient in known]
    after = [age for recipient, _, _, age in found if recipient in ours and recipient not in known]
    late = Counter(status for status, wait in before if wait is not None and wait > HOUR / 2)
    return [
        f"{STAYS:g} s later {late.total()} of those from before the step were late for the whole hour: "
        + "; ".join(f"{late[status]} {status}: {why}" for status, why in REASONS.items()),
        f"{len(before) - late.total()} more from before it waited; of those from after it, "
        f"{sum(age > SOON for age in after)} for more than {SOON} s",
    ]


SET_BACK = partial(world, servers=with_a_clock)
FAULTS = (
    # A dead process leaves its claims ambiguous.
    Fault(
        name="the clock of the database set back by an hour",
        inject=set_back(HOUR),
        may_double=True,
        within=120,
        make_world=SET_BACK,
    ),
    Fault(name="the clock of the database set back by 5 s", inject=set_back(5), may_double=True, make_world=SET_BACK),
)
