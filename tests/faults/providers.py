"""Providers that drop, refuse, delay, and do not know us."""

import signal
from collections.abc import Callable

from local.providers.client import Failure
from tests.faults.checks import rows
from tests.faults.fault import Fault, Scene
from tests.faults.load import CHANNELS
from tests.faults.world import wait


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
    """For three seconds, at every call. What met it waits for two minutes, and no attempt of it is burnt."""
    world, emulator = scene.world, scene.world.emulator
    emulator.forgive()
    emulator.fail("email", status=535, stage="mail")
    emulator.fail("sms", status=401, code="20003")
    emulator.fail("push", status=401)
    world.tell("trigger", signal.SIGCONT)
    wait("calls that are refused", lambda: all(rule["used"] > 3 for rule in emulator.failures()))
    emulator.forgive()
    burnt = [row for row in rows(world, scene.load) if row.status == "retrying" and row.spared != row.attempt]
    assert not burnt, f"attempts were burnt: {burnt}"


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
        name="providers: a third of a time-out late",  # on a busy machine as well, it comes in time
        inject=provider(20, email={"delay": 0.7}, sms={"delay": 0.7}, push={"delay": 0.4}),
    ),
    Fault(
        name="providers: later than the time-out",
        inject=provider(10, email={"delay": 3}, sms={"delay": 3}, push={"delay": 3}),
        may_double=True,
    ),
    Fault(name="providers: wrong credentials", inject=wrong_credentials, within=240),
)
