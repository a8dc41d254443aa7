"""A notification that the database does not take fails alone, whatever it was gathered with."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tidings.adapters.rabbitmq.broker import BrokerSettings
from tidings.adapters.sql.database import DatabaseSettings
from tidings.api.api_keys import ApiKeys, Scope, new_key
from tidings.api.app import App
from tidings.api.http import Request
from tidings.api.intake import IntakeEndpoints
from tidings.cli import diagnostics
from tidings.domain.errors import RowTooLarge, StoreUnavailable
from tidings.domain.notification import Notification, new_id
from tidings.migrate import migrate
from tidings.pipeline.intake import Intake
from tidings.ports import Inserted
from tidings.runtime.container import Container, utc_now

from local.services.mariadb import MariaDB
from tests.functions.served import ROOT

MIB = 1024 * 1024
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def made(recipient: str) -> Notification:
    return Notification(id=new_id(AT), tenant="acme", channel="sms", recipient=recipient, created_at=AT, updated_at=AT)


class Picky:
    """A store that takes no batch with one of `poison` in it; `gone_after`: calls, after which it is gone."""

    def __init__(self, *poison: str, gone_after: int = 1000) -> None:
        self.poison, self.gone_after = set(poison), gone_after
        self.calls: list[int] = []
        self.stored: list[str] = []

    def insert(self, batch: Sequence[Notification]) -> Sequence[Inserted]:
        self.calls.append(len(batch))
        if len(self.calls) > self.gone_after:
            raise StoreUnavailable("gone")
        if self.poison & {one.recipient for one in batch}:
            raise ValueError("this batch")
        self.stored += [one.recipient for one in batch]
        return [Inserted(one) for one in batch]


class Silent:
    def publish(self, _messages: object) -> None:
        pass


def accepted(store: Any, names: Sequence[str]) -> list[str]:
    broker: Any = Silent()
    taken = Intake(store=store, broker=broker).accept([made(name) for name in names])
    return [type(one).__name__ for one in taken]


@pytest.mark.parametrize("poison", [["0"], ["41"], ["20"], ["3", "4", "17"]], ids=str)
def test_the_notification_that_breaks_a_batch_fails_alone(poison: list[str]) -> None:
    store = Picky(*poison)
    names = [str(n) for n in range(42)]
    assert accepted(store, names) == ["ValueError" if name in poison else "Inserted" for name in names]
    assert store.stored == [name for name in names if name not in poison]
    assert len(store.calls) <= 1 + 12 * len(poison)  # by halves, not one by one


def test_an_empty_batch_asks_nobody() -> None:
    store = Picky(gone_after=0)
    assert accepted(store, []) == []
    assert store.calls == []


def test_a_database_outage_is_not_retried_by_halving() -> None:
    store = Picky(gone_after=0)
    with pytest.raises(StoreUnavailable):
        accepted(store, ["1"] * 500)
    assert store.calls == [500]


def test_the_stored_half_stays_accepted_if_the_database_fails_in_between() -> None:
    store = Picky("3", gone_after=2)  # the whole breaks, the first half is stored, then it is gone
    assert accepted(store, ["0", "1", "2", "3"]) == ["Inserted", "Inserted", "StoreUnavailable", "StoreUnavailable"]
    assert store.stored == ["0", "1"]


# --- MariaDB with a small max_allowed_packet --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_packets(private_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of its own: the setting is the whole server's."""
    with MariaDB(tmp_path_factory.mktemp("mariadb"), options=[f"--max-allowed-packet={MIB}"]) as server:
        yield server.url


@pytest.fixture
def parts(small_packets: str) -> Iterator[Container]:
    database = DatabaseSettings(database_url=small_packets, database_timeout=20)
    migrate(database, ROOT / "infra/migrations")
    parts = Container(database, BrokerSettings(broker_url=None))
    yield parts
    parts.close()


def mail(name: str, size: int) -> dict[str, Any]:
    return {"channel": "email", "recipient": f"{name}@example.com", "content": {"subject": "s", "text": "x" * size}}


def test_a_large_mail_fails_alone_and_says_what_the_operator_can_do(parts: Container) -> None:
    key, kept = new_key("acme", [Scope.SEND])
    routes = IntakeEndpoints(intake=parts.intake(), store=parts.store, broker=parts.broker, now=utc_now)
    api = App(routes.all(), ApiKeys(keys=(kept,)))

    async def post(body: object) -> Any:
        headers = {"authorization": f"Bearer {key}"}
        raw = json.dumps(body).encode()
        answer = await api.answer(Request(method="POST", path="/v1/notifications", headers=headers, body=raw))
        return answer.status, json.loads(answer.body)

    async def together() -> Any:
        return await asyncio.gather(*[post(mail(f"a{n}", 10)) for n in range(41)], post(mail("large", 990_000)))

    *neighbours, (status, problem) = asyncio.run(together())
    assert {status for status, _ in neighbours} == {202}
    assert (status, problem["code"]) == (413, "too_large_for_database")
    assert "max_allowed_packet" in problem["detail"]
    assert str(MIB) in problem["detail"]
    status, found = asyncio.run(post([mail("b1", 10), mail("large", 990_000), mail("b2", 600_000)]))
    assert status == 202
    assert [one.get("error", {}).get("code") for one in found["results"]] == [None, "too_large_for_database", None]


@pytest.mark.parametrize("content", ["x" * 1_000_000, b"'" * 500_000, b"\\" * 500_000])
def test_a_row_too_large_is_refused_before_the_server_hangs_up(parts: Container, content: str | bytes) -> None:
    """Also where only what is escaped makes it too large."""
    large = Notification(
        id=new_id(AT), tenant="a", channel="sms", recipient="b", created_at=AT, updated_at=AT, content=content
    )
    with pytest.raises(RowTooLarge, match=str(MIB)):
        parts.store.insert([large])


def test_the_doctor_compares_the_setting_with_what_the_intake_takes(
    parts: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finding,) = diagnostics._statements(parts)
    assert (finding.state, finding.name) == ("warning", "max_allowed_packet")
    assert str(MIB) in finding.text
    assert str(16 * MIB) in (finding.remedy or "")
    monkeypatch.setattr(type(parts), "largest_statement", lambda _: 16 * MIB)
    (finding,) = diagnostics._statements(parts)
    assert finding.state == "ok"


def test_the_doctor_says_nothing_about_a_database_without_a_limit(tmp_path: Path) -> None:
    parts = Container(DatabaseSettings(database_url=f"sqlite:///{tmp_path}/t.db"), BrokerSettings(broker_url=None))
    assert [*diagnostics._statements(parts)] == []
    parts.close()
