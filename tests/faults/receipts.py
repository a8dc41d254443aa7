"""What providers report: late, lost, forged, in a flood, or while the function that takes it dies.

`python -m tests.faults --receipts` runs these. The first four rows are two faults, each without and with receipts: what
is sent twice without them is not with them.
"""

import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Literal
from urllib.parse import urlencode

from local.emulators.client import Failure
from local.emulators.twilio_callbacks import sign
from local.stack import no_proxy
from tests.faults.checks import Seen
from tests.faults.fault import Fault, Scene
from tests.faults.load import Wanted
from tests.faults.matrix import Result, header, line, machine, verdict
from tests.faults.world import World, wait, world

WORLD = partial(world, receipts=True)
TEXTS = 60
FEW = 20  # which are all under way at once
COPIES = 1000  # of a flood
HEADING = "## With and without receipts"


# --- what is ambiguous, without and with receipts ---------------------------------------------------------------------


def dropped(reports: bool) -> Callable[[Scene], None]:
    """Twilio accepts and the connection breaks before its answer."""

    def inject(scene: Scene) -> None:
        rule: Failure = {"drop": "after_accept", "next": TEXTS}
        _texts(scene, rule if reports else {**rule, "receipts": "never"})
        _resume(scene)
        wait("the failures", lambda: scene.world.emulator.failures()[-1]["used"] == TEXTS)

    return inject


def worker_dies(reports: bool) -> Callable[[Scene], None]:
    """It has sent, and has written nothing of it."""

    def inject(scene: Scene) -> None:
        _texts(scene, None if reports else {"delay": 0.001, "receipts": "never"})
        others = [worker for name in ("email", "push") for worker in scene.world.workers(name)]
        for worker in others:  # so that none of these comes first to the step
            os.kill(worker, signal.SIGSTOP)
        try:
            scene.world.arm("delivery.after_send")
            _resume(scene)
            wait("a worker that dies after it has sent", lambda: scene.world.struck("delivery.after_send"))
        finally:
            for worker in others:
                os.kill(worker, signal.SIGCONT)

    return inject


# --- the function -----------------------------------------------------------------------------------------------------


def dies_at(step: str) -> Callable[[Scene], None]:
    """gunicorn restarts the worker, and Twilio repeats what was not answered."""

    def inject(scene: Scene) -> None:
        texts = _texts(scene, None)
        scene.world.arm(step)
        _resume(scene)
        wait(f"a receipt at which the function dies at {step}", lambda: scene.world.struck(step))
        _wait_for(scene, texts, "delivered")

    return inject


def database_down(scene: Scene) -> None:
    """503, and Twilio repeats it for some seconds."""
    texts = _texts(scene, {"delay": 0.001, "receipts": "late"})
    _resume(scene)
    wait("calls", lambda: scene.world.emulator.failures()[-1]["used"] >= TEXTS)
    scene.world.mariadb.kill()
    time.sleep(2)
    scene.world.mariadb.start()
    _wait_for(scene, texts, "delivered")


def reported(how: Literal["twice", "out_of_order", "forged"], status: str = "delivered") -> Callable[[Scene], None]:
    def inject(scene: Scene) -> None:
        texts = _texts(scene, {"delay": 0.001, "receipts": how})
        _resume(scene)
        _wait_for(scene, texts, status)
        if how == "forged":
            time.sleep(2)
            _wait_for(scene, texts, status)

    return inject


def unmatched(scene: Scene) -> None:
    """Without a mark, and before the answer with the message's id is written: the sweep tries it again."""
    texts = _texts(scene, {"delay": 2.5, "receipts": "never"}, count=FEW)
    _resume(scene)
    _post_all(scene.world, _forms(scene, texts), workers=4)
    assert _kept(scene.world) > 0, "each found its row at once: this row shows nothing"
    _wait_for(scene, texts, "delivered")


def flood(scene: Scene) -> None:
    """A thousand copies from many connections, beside the sending."""
    texts = _texts(scene, {"delay": 0.001, "receipts": "never"})
    _resume(scene)
    forms = _forms(scene, texts)
    begun = time.monotonic()
    answers = _post_all(scene.world, [forms[number % len(forms)] for number in range(COPIES)], workers=16)
    seconds = time.monotonic() - begun
    assert set(answers) <= {204, 503}, f"answers: {answers}"
    scene.notes.append(f"{COPIES} copies were answered in {seconds:.1f} s: {dict(answers)}")
    _wait_for(scene, texts, "delivered")


def _forms(scene: Scene, texts: Sequence[Wanted]) -> Sequence[dict[str, str]]:
    """Of what Twilio has accepted, as soon as it has."""

    def accepted() -> dict[str, str]:
        return {str(call["recipient"]): str(call["message_id"]) for call in scene.world.emulator.calls("sms")}

    found = wait("Twilio's acceptances", accepted, lambda seen: all(text.address in seen for text in texts))
    return [
        {"MessageSid": found[text.address], "MessageStatus": "delivered", "To": text.address, "AccountSid": "AC0"}
        for text in texts
    ]


def _post_all(world: World, forms: Sequence[dict[str, str]], *, workers: int) -> Counter[int]:
    """Signed, to the address without a mark."""
    url = f"{world.stack.settings['TIDINGS_RECEIPTS_URL']}/v1/receipts/twilio/main"
    token, answers = world.stack.settings["TIDINGS_TWILIO_AUTH_TOKEN"], Counter[int]()

    def post(part: Sequence[dict[str, str]]) -> None:
        for form in part:
            headers = {"X-Twilio-Signature": sign(token, url, form)}
            request = urllib.request.Request(url, urlencode(form).encode(), headers)
            try:
                with no_proxy.open_url(request, timeout=30) as answer:
                    answers[answer.status] += 1
            except urllib.error.HTTPError as error:
                with error:
                    answers[error.code] += 1

    threads = [threading.Thread(target=post, args=[forms[start::workers]]) for start in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _kept(world: World) -> int:
    return int(
        world.query("SELECT COUNT(*) FROM receipts WHERE notification_id IS NULL AND retry_at IS NOT NULL")[0][0]
    )


def _texts(scene: Scene, rule: Failure | None, *, count: int = TEXTS) -> Sequence[Wanted]:
    if rule is not None:
        scene.world.emulator.fail("sms", **rule)
    texts = scene.load.texts(count)
    scene.judge = partial(_judged, {text.address for text in texts})
    return texts


def _judged(addresses: set[str], seen: Seen) -> Sequence[str]:
    """None of the SMS is lost, whatever else happened to it."""
    return [f"{row.id} is {row.status}" for row in seen.rows if row.address in addresses and row.status == "failed"]


def _wait_for(scene: Scene, texts: Sequence[Wanted], status: str) -> None:
    addresses = tuple(text.address for text in texts)
    marks = ",".join(["%s"] * len(addresses))
    statement = f"SELECT status, COUNT(*) FROM notifications WHERE recipient IN ({marks}) GROUP BY status"
    wait(
        f"all SMS {status}",
        lambda: dict(scene.world.query(statement, addresses)),
        lambda found: found == {status: len(addresses)},
        within=90,
    )


def _resume(scene: Scene) -> None:
    scene.world.tell("trigger", signal.SIGCONT)


def fault(name: str, inject: Callable[[Scene], None], **more: bool) -> Fault:
    return Fault(name=name, inject=inject, make_world=WORLD, messages=0, **more)


FAULTS = (
    fault("SMS accepted, connection lost; no receipts", dropped(reports=False), may_double=True),
    fault("SMS accepted, connection lost; receipts", dropped(reports=True), may_double=True),
    fault("worker dies after sending SMS; no receipts", worker_dies(reports=False), may_double=True),
    fault("worker dies after sending SMS; receipts", worker_dies(reports=True), may_double=True),
    fault("dies at receipts.before_commit", dies_at("receipts.before_commit")),
    fault("dies at receipts.after_commit", dies_at("receipts.after_commit")),
    fault("receipts: database down", database_down),
    fault("receipts: unmatched first", unmatched),
    fault("receipts: forged", reported("forged", "sent")),
    fault("receipts: duplicated", reported("twice")),
    fault("receipts: reordered", reported("out_of_order")),
    fault("receipts: a flood", flood),
)


def section(ran: Sequence[Result], world: World, seed: int) -> str:
    noted = "".join(f"- {result.fault}: {note}\n" for result in ran for note in result.notes)
    table = "\n".join(map(line, ran))
    return f"""{HEADING}

`python -m tests.faults --receipts --seed {seed} --write docs/faults.md` wrote this section:
{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, on {machine(world)}.

The first two faults make {TEXTS} SMS, or those that a dead worker had in its hands, ambiguous: each is there once while
Twilio does not report, and once while it does. A receipt in time cancels the resend, or decides what was `unknown`; so
**doubled** falls. `sent` counts `delivered` too. A few notifications of every channel are submitted beside. The audit
runs after every row.

{header()}
{table}

{verdict(ran)}

{noted}"""
