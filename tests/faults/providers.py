"""Providers that drop, refuse or delay calls, or refuse our account."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from local.emulators.client import Failure
from tests.faults.checks import rows
from tests.faults.fault import MESSAGES, Fault, Scene
from tests.faults.lags import lags
from tests.faults.load import CHANNELS
from tests.faults.world import World, wait, world

LATE = 10.0  # seconds
PATIENT = partial(world, lease=40, provider_timeout=24)  # FCM's client uses half of it for the call itself
NEVER = 3600.0  # seconds, longer than any time-out


def provider(calls: int, **failures: Failure) -> Callable[[Scene], None]:
    """The next calls of these channels fail so."""

    def inject(scene: Scene) -> None:
        emulator = scene.world.emulator
        for channel in CHANNELS:
            if channel in failures:
                failure: Failure = {**failures[channel], "next": calls}
                emulator.fail(channel, **failure)
        scene.world.tell("trigger", signal.SIGCONT)
        wait(
            "the failures",
            lambda: all(rule["used"] == calls for rule in emulator.failures() if "recipient" not in rule),
        )

    return inject


def wrong_credentials(scene: Scene) -> None:
    """Refuse every call until each provider counts as refusing our account, plus five seconds. Waiting notifications
    are not tried, no attempt is counted, and each channel raises one alarm."""
    world, emulator = scene.world, scene.world.emulator
    before = _alarms(world)
    emulator.forgive()
    emulator.fail("email", status=535, stage="mail")
    emulator.fail("sms", status=401, code="20003")
    emulator.fail("push", status=401)
    world.tell("trigger", signal.SIGCONT)
    wait("each provider to refuse us", lambda: len(world.query(_REFUSING)) == len(CHANNELS))
    first = sum(rule["used"] for rule in emulator.failures())
    time.sleep(5)
    probes = sum(rule["used"] for rule in emulator.failures()) - first
    emulator.forgive()
    burnt = [row for row in rows(world, scene.load) if row.status == "retrying" and row.spared != row.attempt]
    assert not burnt, f"attempts were burnt: {burnt}"
    assert probes <= 3 * len(CHANNELS), f"{probes} calls in five seconds, where a few probes may be"
    wait("each provider to be tried again", lambda: not world.query(_REFUSING), within=60)
    alarms = _alarms(world) - before
    assert alarms == Counter(CHANNELS), f"alarms: {alarms}"
    scene.notes.append(
        f"{first} calls were refused until each provider counted as refusing us, and {probes} in the five seconds after"
    )


def _alarms(world: World) -> Counter[str]:
    """By channel, since the world began."""
    logs = {name: world.stack.processes.log(name).read_text(encoding="utf-8") for name in CHANNELS}
    return Counter({name: log.count('"account_refused"') for name, log in logs.items()})


_REFUSING = "SELECT name FROM connections WHERE refusing_at IS NOT NULL"


def now_and_then(calls: int, *failures: Failure) -> Callable[[Scene], None]:
    """Some calls of each channel fail by these rules, until each rule was used this often. The others are on time."""

    def inject(scene: Scene) -> None:
        emulator = scene.world.emulator
        rules = {emulator.fail(channel, **failure) for channel in CHANNELS for failure in failures}
        scene.world.tell("trigger", signal.SIGCONT)
        scene.load.burst(600)
        theirs = {one.address for one in scene.load.wanted[MESSAGES:]}

        def used() -> list[int]:
            return [rule["used"] for rule in emulator.failures() if rule["id"] in rules]

        wait("the failures", lambda: min(used()) >= calls, within=120)
        wait("their ends", lambda: all(row.has_ended for row in rows(scene.world, scene.load) if row.address in theirs))
        scene.notes.append(f"{sum(used())} calls failed this way; {lags(scene, theirs)}")

    return inject


FAULTS = (
    Fault(
        name="providers: dropped after accepting",
        inject=provider(
            20, email={"drop": "after_accept"}, sms={"drop": "after_accept"}, push={"drop": "after_accept"}
        ),
        may_double=True,
    ),
    Fault(
        name="providers: dropped before accepting",
        inject=provider(
            20, email={"drop": "before_accept"}, sms={"drop": "before_accept"}, push={"drop": "before_accept"}
        ),
    ),
    Fault(
        name="providers: 429, Retry-After",
        inject=provider(20, sms={"status": 429, "retry_after": 3}),
    ),
    Fault(
        name="providers: 500, 451",
        inject=provider(20, email={"status": 451}, sms={"status": 500}, push={"status": 500}),
    ),
    Fault(
        name="providers: a third of a time-out late",  # on time, also on a busy machine
        inject=provider(20, email={"delay": 0.7}, sms={"delay": 0.7}, push={"delay": 0.4}),
    ),
    Fault(
        name="providers: later than the time-out",
        inject=provider(10, email={"delay": 5}, sms={"delay": 5}, push={"delay": 5}),
        may_double=True,
    ),
    # Within the time-out: nothing is ambiguous.
    Fault(
        name="providers: every hundredth call slow",
        inject=now_and_then(2, {"every": 100, "delay": LATE}),
        within=150,
        make_world=PATIENT,
    ),
    # Half of them accepted the message.
    Fault(
        name="providers: 5 % of calls hang",
        inject=now_and_then(3, {"every": 40, "delay": NEVER}, {"every": 40, "delay": NEVER, "drop": "before_accept"}),
        may_double=True,
        within=150,
    ),
    Fault(name="providers: wrong credentials", inject=wrong_credentials, within=240),
)
