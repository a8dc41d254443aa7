"""Large numbers: a long outage with fifty thousand waiting notifications, and senders that scale up and down."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

from tidings.pipeline.delivery import RESERVED
from tidings.runtime.container import DeliverySettings

from local.stack.ports import Ports
from local.stack.processes import ProcessSpec
from tests.faults.fault import Fault, Scene
from tests.faults.world import wait

OUTAGE = 50_000  # mails
ATTEMPTS = 20  # the API's maximum: an outage does not use them up, and no other mails have as many
DOWN = 90.0  # seconds, at least
SCALED = 10_000
ARRAY = 1000  # also the API's maximum
DRAIN = 33.0  # seconds that a part may take to stop
MOST_MEGABYTES = 400  # sum over the processes of a part
SLOWEST = 10.0  # seconds in which intake must answer a single notification, under any load


def outage(scene: Scene) -> None:
    """The mail server is unreachable until all are submitted and have been retried."""
    world, load = scene.world, scene.load
    world.emulator.fail("email", stage="mail", drop="before_accept")
    world.emulator.fail("email", stage="connect", status=421)
    world.tell("trigger", signal.SIGCONT)
    begun = time.monotonic()
    with _memory(scene) as most:
        load.mails(OUTAGE, array=ARRAY, max_attempts=ATTEMPTS, on_ambiguous="resend")
        handed_in = time.monotonic() - begun
        time.sleep(max(0.0, begun + DOWN - time.monotonic()))
        wait("the first at their third attempt", lambda: _count(scene, "attempt > 2") > 1000, within=120)
        down, refused = time.monotonic() - begun, _count(scene, "status = 'retrying'")
        world.emulator.forgive()
        world.emulator.fail("email", delay=0.02)  # so that calls overlap and can be counted
        back = time.monotonic()
        wait("all sent", lambda: _count(scene, "status IN ('pending', 'sending', 'retrying')"), _none, within=400)
        took = time.monotonic() - back
    peak = world.emulator.call_peaks()["email"]
    scene.notes += [
        f"{OUTAGE} mails were submitted in {handed_in:.0f} s; the provider was down for {down:.0f} s and had refused "
        f"{refused} of them, some for the third time; all were sent {took:.0f} s after it came back, with at "
        f"most {peak} calls at once",
        f"intake took at most {load.slowest:.1f} s to answer a single one; memory peaked at {_shown(most)}",
    ]
    limit = DeliverySettings.model_fields["concurrency"].default + RESERVED
    assert peak <= limit, f"{peak} calls at once, where the function is allowed {limit}"
    assert load.slowest < SLOWEST, f"intake took {load.slowest:.1f} s for a single notification"
    assert max(most.values()) < MOST_MEGABYTES, f"memory: {_shown(most)}"


def _count(scene: Scene, condition: str) -> int:
    """Counts of the outage's mails."""
    found = scene.world.query(
        f"SELECT COUNT(*) FROM notifications WHERE tenant = 'local' AND max_attempts = %s AND {condition}", (ATTEMPTS,)
    )
    return int(found[0][0])


def _none(count: int) -> bool:
    return count == 0


@contextlib.contextmanager
def _memory(scene: Scene) -> Iterator[dict[str, int]]:
    """Maximum megabytes of each part in the block, by name."""
    most: dict[str, int] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1):
            with contextlib.suppress(OSError):  # a process ended meanwhile
                for name, usage in scene.world.usage().items():
                    most[name] = max(most.get(name, 0), usage.megabytes)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield most
    finally:
        over.set()
        watching.join()


def _shown(most: dict[str, int]) -> str:
    return ", ".join(f"{name} {megabytes} MB" for name, megabytes in sorted(most.items()))


def scaled(scene: Scene) -> None:
    """Add three more functions, each with its own trigger, and remove them, while mails are sent."""
    world = scene.world
    world.emulator.fail("email", delay=0.4)  # some must be left when the functions stop, even on a fast machine
    world.tell("trigger", signal.SIGCONT)
    scene.load.mails(SCALED, array=ARRAY)
    try:
        for number in (2, 3, 4):
            _add_sender(scene, number)
        # One function stops before its trigger, by mistake: the trigger requeues its messages.
        order = ("email-2", "trigger-2", "trigger-3", "email-3", "trigger-4", "email-4")
        took = {name: _stopped(scene, name) for name in order}
    finally:
        for name in [name for name in world.stack.processes.running if name[-1].isdigit()]:
            world.stack.processes.remove(name)
    left = SCALED - world.emulator.totals()["email"]
    slowest = max(took, key=lambda name: took[name])
    scene.notes.append(
        f"{left} of {SCALED} mails were still to be sent when the last of three was stopped; "
        f"{slowest} took the longest, {took[slowest]:.1f} s; {world.emulator.call_peaks()['email']} calls at once"
    )
    assert left > 0, "all had been sent before the senders were stopped"
    assert took[slowest] < DRAIN, f"{slowest} took {took[slowest]:.0f} s to drain"


def _add_sender(scene: Scene, number: int) -> None:
    """Return when it has sent some."""
    processes, port = scene.world.stack.processes, Ports.plan(0, ["email"]).channels["email"]
    url = f"http://127.0.0.1:{port}"
    function = ProcessSpec(command=["tidings.runtime.server", "email", "--port", str(port)], health=f"{url}/healthz")
    processes.add(f"email-{number}", function)
    processes.add(f"trigger-{number}", ProcessSpec(command=["tidings.runtime.trigger", f"email={url}"]))
    log = processes.log(f"email-{number}")
    wait(f"mails of sender {number}", lambda: '"sent"' in log.read_text(encoding="utf-8"))


def _stopped(scene: Scene, name: str) -> float:
    begun = time.monotonic()
    scene.world.stack.processes.remove(name)
    return time.monotonic() - begun


FAULTS = (
    Fault(name="1 to 4 senders and back, 10,000 in flight", inject=scaled, within=180),
    Fault(name="a provider down for long, 50,000 waiting", inject=outage, within=400),
)
