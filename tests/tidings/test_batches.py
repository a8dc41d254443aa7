"""A batch is no barrier: a slow call delays neither its neighbours nor the next batch."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from tidings.domain.errors import StoreUnavailable
from tidings.domain.notification import Notification, Priority, Status
from tidings.messaging.envelope import IncomingMessage
from tidings.pipeline.delivery import Delivery
from tidings.ports import Acceptance, Claims, SendRequest, Settlement

from tests import make
from tests.tidings.conftest import Parts
from tests.tidings.test_delivery import added, incoming, waiting
from tests.wait import eventually

WAIT = 60.0


@dataclass
class SlowProvider:
    """Calls to these recipients last until the gate opens. Keeps who was begun."""

    slow: set[str] = field(default_factory=set)
    gate: threading.Event = field(default_factory=threading.Event)
    begun: list[str] = field(default_factory=list)
    name: str = "slow"
    timeout: timedelta = timedelta(seconds=5)

    def send(self, outbound: SendRequest) -> Acceptance:
        self.begun.append(outbound.recipient)
        if outbound.recipient in self.slow:
            assert self.gate.wait(WAIT)
        return Acceptance(provider_message_id=f"receipt-{outbound.id}")

    def close(self) -> None:
        return


@pytest.fixture
def provider() -> Iterator[SlowProvider]:
    made = SlowProvider()
    yield made
    made.gate.set()


@pytest.fixture
def delivery(parts: Parts, provider: SlowProvider) -> Iterator[Delivery]:
    """Four senders, and one that only urgent calls take."""
    made = replace(parts.delivery, provider=provider, concurrency=4, reserved=1)
    yield made
    provider.gate.set()
    made.close()


@pytest.fixture
def callers(provider: SlowProvider) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads
        provider.gate.set()


def status(parts: Parts, *rows: Notification) -> list[Status]:
    return [parts.row(row).status for row in rows]


def slow(parts: Parts, provider: SlowProvider, count: int) -> list[Notification]:
    rows = [added(parts) for _ in range(count)]
    provider.slow |= {row.recipient for row in rows}
    return rows


def stuck(
    parts: Parts, provider: SlowProvider, delivery: Delivery, callers: ThreadPoolExecutor, count: int
) -> tuple[Sequence[Notification], Future[bool]]:
    """So many calls hang."""
    rows = slow(parts, provider, count)
    running = callers.submit(delivery.deliver, incoming(*rows))
    eventually("calls that hang", lambda: len(provider.begun) >= count, within=WAIT)
    return rows, running


def test_quick_calls_are_settled_while_a_slow_one_is_running(
    parts: Parts, provider: SlowProvider, delivery: Delivery, callers: ThreadPoolExecutor
) -> None:
    (hanging,), quick = slow(parts, provider, 1), [added(parts) for _ in range(20)]
    running = callers.submit(delivery.deliver, incoming(hanging, *quick))
    eventually("the quick", lambda: status(parts, *quick) == [Status.SENT] * 20, within=WAIT)
    assert status(parts, hanging) == [Status.SENDING]
    assert not running.done(), "who may freeze this process is answered when all of it has ended"
    provider.gate.set()
    assert running.result(WAIT) is True
    assert status(parts, hanging) == [Status.SENT]


def test_a_slow_call_does_not_keep_its_neighbours_content_in_memory(
    parts: Parts, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which may be megabytes each: a slow call of each batch would hold all of them."""
    settled: list[Settlement] = []
    settle = parts.store.settle

    def watched(settlements: Sequence[Settlement], *, dead_letters_owed: bool = False) -> Sequence[Settlement]:
        settled.extend(settlements)
        return settle(settlements, dead_letters_owed=dead_letters_owed)

    monkeypatch.setattr(parts.store, "settle", watched)
    delivery.deliver(incoming(*[added(parts) for _ in range(4)]))
    assert [(len(one.claims.acquired), one.claims.size > 0) for one in settled] == [(0, True)] * 4


def test_the_next_batch_does_not_wait_for_the_slowest_of_the_last(
    parts: Parts, provider: SlowProvider, delivery: Delivery, callers: ThreadPoolExecutor
) -> None:
    stuck(parts, provider, delivery, callers, 3)  # of four senders
    rows = [added(parts) for _ in range(30)]
    assert delivery.deliver(incoming(*rows)) is True
    assert status(parts, *rows) == [Status.SENT] * 30


def test_a_detached_batch_returns_once_all_calls_have_started(
    parts: Parts, provider: SlowProvider, delivery: Delivery
) -> None:
    (hanging,), quick = slow(parts, provider, 1), [added(parts) for _ in range(3)]
    assert delivery.deliver(incoming(hanging, *quick), detach=True) is False
    assert hanging.recipient in provider.begun
    assert status(parts, hanging) == [Status.SENDING]
    provider.gate.set()
    eventually("the slow one", lambda: status(parts, hanging) == [Status.SENT], within=WAIT)


def test_a_quick_batch_is_settled_even_with_detach(
    parts: Parts, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidings.pipeline.delivery.DETACH_AFTER", timedelta(seconds=WAIT))
    rows = [added(parts) for _ in range(10)]
    assert delivery.deliver(incoming(*rows), detach=True) is True
    assert status(parts, *rows) == [Status.SENT] * 10


def test_no_more_is_claimed_than_senders_are_free(
    parts: Parts, provider: SlowProvider, delivery: Delivery, callers: ThreadPoolExecutor
) -> None:
    """What waits for a sender is nobody's yet: if this worker dies, it is not ambiguous."""
    stuck(parts, provider, delivery, callers, 3)
    more = slow(parts, provider, 10)
    running = callers.submit(delivery.deliver, incoming(*more))
    eventually("the last sender", lambda: len(provider.begun) == 4, within=WAIT)
    assert sorted(status(parts, *more)) == [Status.PENDING] * 9 + [Status.SENDING]
    provider.gate.set()
    assert running.result(WAIT) is True
    assert status(parts, *more) == [Status.SENT] * 10


def test_messages_without_a_free_sender_in_time_are_deferred_unclaimed(
    parts: Parts,
    provider: SlowProvider,
    delivery: Delivery,
    callers: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stuck(parts, provider, delivery, callers, 4)
    monkeypatch.setattr("tidings.pipeline.deadlines.BEGIN_WITHIN", timedelta(0))
    rows = [added(parts) for _ in range(2)]
    before = len(waiting(parts, "tidings.email"))
    delivery.deliver(incoming(*rows))
    assert [(row.status, row.attempt) for row in map(parts.row, rows)] == [(Status.PENDING, 0)] * 2
    parts.clock.advance(seconds=1)
    assert len(waiting(parts, "tidings.email")) == before + 2


def test_urgent_notifications_have_a_sender_while_all_others_hang(
    parts: Parts, provider: SlowProvider, delivery: Delivery, callers: ThreadPoolExecutor
) -> None:
    stuck(parts, provider, delivery, callers, 4)
    row = added(parts, priority=Priority.HIGH)
    delivery.deliver([IncomingMessage(queue="tidings.email.high", body=b"", message=make.message(row))])
    assert status(parts, row) == [Status.SENT]


def test_a_failed_claim_waits_for_the_running_calls(
    parts: Parts, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is told may freeze or end this process at once."""
    rows = [added(parts) for _ in range(8)]
    claim, calls = parts.store.claim, []

    def failing(*args: object, **given: object) -> Claims:
        calls.append(args)
        if len(calls) == 2:
            raise StoreUnavailable("gone")
        return claim(*args, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(parts.store, "claim", failing)
    with pytest.raises(StoreUnavailable):
        delivery.deliver(incoming(*rows))
    found = status(parts, *rows)
    assert Status.SENDING not in found
    assert Status.SENT in found
    delivery.deliver(incoming(*rows))
    assert status(parts, *rows) == [Status.SENT] * 8


def test_a_message_redelivered_during_its_call_is_not_sent_twice(
    parts: Parts, provider: SlowProvider, delivery: Delivery, callers: ThreadPoolExecutor
) -> None:
    rows, running = stuck(parts, provider, delivery, callers, 2)
    assert delivery.deliver(incoming(*rows)) is True
    provider.gate.set()
    assert running.result(WAIT) is True
    assert sorted(provider.begun) == sorted(row.recipient for row in rows)


def test_closing_settles_the_running_calls_of_a_detached_batch(
    parts: Parts, provider: SlowProvider, delivery: Delivery, callers: ThreadPoolExecutor
) -> None:
    """As at a SIGTERM, where no request waits for it."""
    (hanging,) = slow(parts, provider, 1)
    delivery.deliver(incoming(hanging), detach=True)
    closing = callers.submit(delivery.close)
    provider.gate.set()
    closing.result(WAIT)
    assert status(parts, hanging) == [Status.SENT]
