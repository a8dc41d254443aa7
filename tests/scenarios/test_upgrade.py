"""An update and a rollback without a pause: two releases at once, as real processes, under load.

The old release is today's code, the next one is made of it (`next_release`). Nothing that was accepted is lost, none is
sent twice, none is parked, whichever of the two takes part at the time.
"""

import contextlib
import itertools
import json
import random
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tidings.messaging import topology

from local.emulators.client import Emulator
from local.stack.ports import Ports
from local.stack.processes import Processes, ProcessSpec
from local.stack.stack import Stack, running
from tests import forks
from tests.foundations import founded
from tests.scenarios.caller import Answer, Caller, Json, wait_for, whole_lines
from tests.scenarios.next_release import NEW_WORD, next_release
from tests.scenarios.queues import EmbeddedQueues, Queues, RabbitQueues
from tests.scenarios.trees import copied, layer, replaced

CHANNELS = ("sms",)  # one is enough, and starts sooner
IN_ORDER = ("replay", "sms", "trigger", "schedule", "intake")
"""In which docs/upgrades.md has a release started."""
THE_OTHER_WAY = ("schedule", "trigger", "sms", "replay", "intake")
"""In which it is stopped: what feeds before what is fed, and the one that callers see last."""
FAULTS = (
    "unexpected_error",
    "batch_failed",
    "parked",
    "topology_mismatch",
    "unexpected_provider_error",
    "configuration_invalid",
)
SOME = 20  # notifications
NUMBERS = itertools.count()


def notification(**more: str) -> Json:
    """A notification to a new recipient."""
    number = f"+1555{next(NUMBERS):05}{secrets.randbelow(10**4):04}"
    return {"channel": "sms", "recipient": number, "content": {"text": "Shipped."}, "idempotency_key": number, **more}


@dataclass(kw_only=True)
class Callers:
    """Callers that submit notifications continuously to any intake, with idempotency keys: each is accepted once."""

    key: str
    urls: Sequence[str]
    accepted: dict[str, str] = field(default_factory=dict)  # ids, by recipient
    by: Counter[str] = field(default_factory=Counter)  # how many each intake has accepted
    refused: list[Answer] = field(default_factory=list)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        stopping = threading.Event()

        def run_for() -> None:
            while not stopping.is_set():
                self.submit(notification(), notification(on_ambiguous="hold"), notification(priority="high"))
                stopping.wait(0.3)

        with ThreadPoolExecutor(2) as threads:
            work = [threads.submit(run_for) for _ in range(2)]
            try:
                yield
            finally:
                stopping.set()
        for one in work:
            one.result()

    def submit(self, *batch: Json) -> None:
        """Repeat until it is answered with 202, as a caller with an idempotency key may."""
        deadline = time.monotonic() + 60
        while True:
            url = random.choice(self.urls)
            try:
                answer = Caller(url=url, ops_url="", key=self.key).ask(f"{url}/v1/notifications", batch)
            except OSError:
                answer = Answer(status=503, body=None)
            if answer.status == 202:
                ids = [result["id"] for result in answer.body["results"]]
                self.accepted.update(zip([one["recipient"] for one in batch], ids, strict=True))
                self.by[url] += len(batch)
                return
            if answer.status != 503:
                self.refused.append(answer)
                return
            assert time.monotonic() < deadline, answer
            time.sleep(0.1)

    def some_more(self) -> None:
        """Wait until each of the intakes has accepted so many more."""
        before = self.by.copy()
        wait_for(lambda: [self.by[url] - before[url] for url in self.urls], lambda found: min(found) >= SOME)


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """One release's processes."""

    processes: Processes
    parts: dict[str, ProcessSpec]
    url: str  # of its intake

    def start(self) -> None:
        for names in (IN_ORDER[:2], IN_ORDER[2:]):
            with ThreadPoolExecutor(len(names)) as threads:
                list(threads.map(lambda name: self.processes.add(name, self.parts[name]), names))

    def stop(self, *names: str) -> None:
        """One after another, with SIGTERM, as a deployment does."""
        for name in names:
            self.processes.remove(name)

    def said(self, event: str) -> list[Json]:
        """The lines of this event in its logs, of what was started last under each name."""
        files = [self.processes.log(name) for name in self.parts]
        lines = [line for file in files if file.exists() for line in whole_lines(file).splitlines()]
        return [json.loads(line) for line in lines if f'"message":"{event}"' in line]


@dataclass(frozen=True, kw_only=True)
class World:
    old: Fleet
    new: Fleet
    new_tree: Path
    callers: Callers
    caller: Caller  # of the observer
    emulator: Emulator
    queues: Queues

    def migrate(self) -> None:
        environment = dict(self.new.processes.environment)
        command = [sys.executable, "-m", "tidings.migrate"]
        done = forks.ended(command, environment=environment, folder=self.new_tree)
        assert done.returncode == 0, done.stderr

    def rows(self) -> list[Json]:
        return replace(self.caller, url=self.callers.urls[0]).listed()

    def all_sent(self) -> None:
        wanted = set(self.callers.accepted.values())

        def standing() -> Counter[str]:
            found = {row["id"]: row["status"] for row in self.rows()}
            return Counter(found.get(id, "missing") for id in wanted)

        wait_for(standing, lambda found: set(found) <= {"sent"})

    def put_back(self) -> int:
        """Number of messages that the old release has deferred for the next one."""
        return sum(line["messages"] for line in self.old.said("unsupported_version_deferred"))

    def parked(self) -> list[str]:
        return [seen.everything for seen in self.queues.lying_in(topology.PARKING)]


def _moved(part: ProcessSpec, ports: dict[int, int]) -> ProcessSpec:
    """The same process of another release, with its own ports."""

    def moved(text: str) -> str:
        for old, new in ports.items():
            text = text.replace(str(old), str(new))
        return text

    return ProcessSpec(
        command=[*map(moved, part.command)], health=moved(part.health) if part.health is not None else None
    )


def _next_fleet(stack: Stack, tree: Path) -> Fleet:
    old, ports, logs = stack.processes, Ports.plan(0, CHANNELS), stack.state.folder / "next"
    logs.mkdir()
    moved = {stack.ports.intake: ports.intake, stack.ports.replay: ports.replay}
    moved |= {stack.ports.channels[channel]: ports.channels[channel] for channel in CHANNELS}
    environment = {**old.environment, "PYTHONPATH": str(layer(tree))}
    return Fleet(
        processes=Processes(environment=environment, folder=tree, logs=logs, lock=old.lock, start=old.start),
        parts={name: _moved(old.specs[name], moved) for name in IN_ORDER},
        url=f"http://127.0.0.1:{ports.intake}",
    )


@pytest.fixture(params=["services"])  # "embedded" passes as well, and would take half a minute more
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The old release runs. It defers a message for 1 s here instead of 30 s."""
    old, new = copied(tmp_path / "old"), next_release(tmp_path / "new")
    replaced(
        layer(old) / "tidings" / "domain" / "timing.py",
        "DEFER_DELAY = timedelta(seconds=30)",
        "DEFER_DELAY = RETRY_STEPS[0]",
    )
    monkeypatch.setattr("local.stack.stack.ROOT", old)
    monkeypatch.setattr("local.stack.stack.CHANNELS", CHANNELS)
    with contextlib.ExitStack() as ends:
        options = ends.enter_context(founded(request, request.param, environment={"PYTHONPATH": str(layer(old))}))
        stack = ends.enter_context(running(options))
        parts = {name: stack.processes.specs[name] for name in IN_ORDER}
        new_fleet, url = _next_fleet(stack, new), options.broker_url
        ends.callback(lambda: new_fleet.stop(*[*new_fleet.processes.running][::-1]))
        yield World(
            old=Fleet(processes=stack.processes, parts=parts, url=stack.url),
            new=new_fleet,
            new_tree=new,
            callers=Callers(key=stack.secrets.api_key, urls=[stack.url]),
            caller=Caller(url=stack.url, ops_url=stack.ops_url, key=stack.secrets.api_key),
            emulator=Emulator(url=stack.inbox_url),
            queues=RabbitQueues(url=url) if url is not None else EmbeddedQueues(options.state / "tidings.db"),
        )


def test_an_update_and_a_rollback_under_load_lose_nothing_and_send_nothing_twice(world: World) -> None:
    callers, old, new = world.callers, world.old, world.new
    with callers.at_work():
        callers.some_more()
        world.migrate()
        callers.some_more()

        new.start()
        callers.urls = [old.url, new.url]
        callers.some_more()
        wait_for(lambda: old.said("unsupported_version_deferred") and new.said("sent"))
        callers.urls = [new.url]
        old.stop(*THE_OTHER_WAY)
        world.all_sent()

        # And back: the old release's functions beside the new one's intake, then alone.
        old.start()
        new.stop(*THE_OTHER_WAY[:-1])
        callers.submit(*[notification(on_ambiguous=NEW_WORD) for _ in range(SOME)])
        callers.urls = [old.url]
        new.stop("intake")
        so_far = world.put_back()
        callers.some_more()
        wait_for(world.put_back, lambda now: now >= so_far + SOME)
        waiting = Counter(row["status"] for row in world.rows() if row["on_ambiguous"] == NEW_WORD)
        assert waiting == {"pending": SOME}, "the old release knows not what that word asks of it"
        assert not world.parked()

        # And forward again.
        new.start()
        old.stop("trigger")
    world.all_sent()
    calls = Counter(call["recipient"] for call in world.emulator.calls())
    assert calls == dict.fromkeys(callers.accepted, 1)
    assert not callers.refused
    assert not world.parked()
    assert {fault: fleet.said(fault) for fleet in (old, new) for fault in FAULTS if fleet.said(fault)} == {}
