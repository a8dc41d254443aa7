"""What this process has claimed stays its own for as long as it lives."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta

import pytest
from tidings.domain.errors import StoreUnavailable
from tidings.domain.notification import Status
from tidings.domain.timing import NO_DEADLINE
from tidings.pipeline.deadlines import Deadlines
from tidings.pipeline.delivery import Delivery
from tidings.pipeline.outcomes import NoTimeLeft
from tidings.pipeline.sweep import Sweep
from tidings.ports import Acceptance, SendRequest

from tests import make
from tests.tidings.conftest import Parts
from tests.tidings.test_delivery import added, incoming
from tests.wait import eventually

LEASE = timedelta(seconds=1)  # by the worker's clock, which is the machine's; the database's is the test's
WAIT = 60.0


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


@contextmanager
def sending(
    parts: Parts, gate: threading.Event, count: int = 1
) -> Iterator[tuple[Delivery, threading.Thread, list[str]]]:
    """A delivery whose calls last until the gate opens; all have begun."""
    begun, send = threading.Semaphore(0), parts.provider.send

    def slow(outbound: SendRequest) -> Acceptance:
        begun.release()
        assert gate.wait(WAIT)
        return send(outbound)

    parts.provider.send = slow  # type: ignore[method-assign]
    delivery = replace(parts.delivery, lease=LEASE)
    rows = [added(parts) for _ in range(count)]
    thread = threading.Thread(target=delivery.deliver, args=[incoming(*rows)])
    thread.start()
    for _ in range(count):
        assert begun.acquire(timeout=WAIT)
    try:
        yield delivery, thread, [row.id for row in rows]
    finally:
        gate.set()
        thread.join(WAIT)
        delivery.close()


def renewed_after(parts: Parts, ids: list[str], seconds: float) -> Callable[[], bool]:
    """Let so much of the database's time pass; then, whether all are leased from now on."""
    parts.clock.advance(seconds=seconds)
    now = parts.clock()

    def look() -> bool:
        rows = [parts.store.get("acme", id) for id in ids]
        return all(row is not None and row.lease_until == now + LEASE for row in rows)

    return look


def test_a_call_may_outlast_many_leases_and_no_other_worker_claims_it(parts: Parts, gate: threading.Event) -> None:
    sweep = Sweep(store=parts.store, broker=parts.broker, settler=parts.settler)
    with sending(parts, gate, 3) as (_, thread, ids):
        for _ in range(5):
            eventually("renewed leases", renewed_after(parts, ids, 0.9), within=WAIT)
            assert sweep.run().abandoned == 0
        gate.set()
        thread.join(WAIT)
    assert len(parts.provider.calls) == 3
    for id in ids:
        row = parts.store.get("acme", id)
        assert row is not None
        assert (row.status, row.attempt) == (Status.SENT, 1)


def test_an_expired_lease_can_be_renewed_within_the_sweeps_grace(parts: Parts, gate: threading.Event) -> None:
    """As after a database that was away for longer than a lease."""
    sweep = Sweep(store=parts.store, broker=parts.broker, settler=parts.settler)
    with sending(parts, gate) as (_, _, ids):
        parts.clock.advance(seconds=2)
        sweep.run()
        eventually("a renewed lease", renewed_after(parts, ids, 0), within=WAIT)
        assert sweep.run().abandoned == 0


def test_the_time_of_the_providers_answer_is_in_the_timeline(parts: Parts, gate: threading.Event) -> None:
    with sending(parts, gate) as (_, thread, ids):
        begun = parts.clock()
        parts.clock.advance(seconds=30)  # the database's: the answer comes at once, and is written down much later
        gate.set()
        thread.join(WAIT)
    (event,) = parts.store.events(ids[0])
    assert begun <= event.at < begun + timedelta(seconds=20)


def test_a_failed_renewal_is_repeated_soon(
    parts: Parts, gate: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    renew, failures = parts.store.renew, [StoreUnavailable("gone"), StoreUnavailable("gone")]

    def failing(tokens: dict[str, str], lease: timedelta) -> object:
        if failures:
            raise failures.pop()
        return renew(tokens, lease)

    monkeypatch.setattr(parts.store, "renew", failing)
    with sending(parts, gate) as (_, _, ids):
        eventually("a renewed lease", renewed_after(parts, ids, 0.5), within=WAIT)
    assert [record.msg for record in caplog.records].count("lease_renewal_failed") == 2


@pytest.mark.parametrize("failure", [None, StoreUnavailable("gone"), ValueError("cannot be written")])
def test_the_lease_of_an_ended_call_is_not_renewed(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, failure: Exception | None
) -> None:
    """Also where its end could not be written down: then the sweep is to find it."""
    monkeypatch.setattr("tidings.pipeline.delivery.SETTLE_WITHIN", timedelta(0))
    row = added(parts)
    if failure is not None:
        monkeypatch.setattr(parts.store, "settle", lambda *_, **__: (_ for _ in ()).throw(failure))
    with pytest.raises(type(failure)) if failure is not None else nullcontext():
        parts.delivery.deliver(incoming(row))
    assert not parts.delivery._leases.allow_call(row.id, time.monotonic())


def test_no_call_starts_under_an_expired_lease(parts: Parts) -> None:
    row = added(parts)
    claims = parts.store.claim([make.message(row)], LEASE)
    parts.delivery._leases.keep(claims, asked_at=time.monotonic() - parts.delivery.lease.total_seconds())
    deadlines = Deadlines.of(time.monotonic(), within=NO_DEADLINE, call=parts.provider.timeout)
    assert isinstance(parts.delivery._attempts.make(claims.acquired[0], claims, deadlines), NoTimeLeft)
    assert not parts.provider.calls
