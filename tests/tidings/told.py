"""The endpoints of test_evidence_machine.py: the real provider of webhooks, a receiver, and the books of both.

What an endpoint must be told is judged by the timelines, not by the statement that writes the webhooks.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import select
from tidings.adapters.sql.event_feed import EventFeed
from tidings.adapters.sql.schema import events, notifications
from tidings.adapters.sql.webhooks import SqlWebhooks
from tidings.domain.errors import AmbiguousError, TransientError
from tidings.domain.notification import Notification, Status, new_id
from tidings.domain.webhook import CHANNEL, CREATED, PREFIX, REPORTED, EndpointState, WebhookEndpoint
from tidings.ports import Selection
from tidings.ports.webhooks import Only, WebhookReplay
from tidings.providers.webhooks.http_post import Answer
from tidings.providers.webhooks.provider import LOOK_EVERY, WebhookProvider
from tidings.providers.webhooks.settings import WebhookSettings

from tests.clock import TestClock
from tests.tidings.actors import TENANT, WeakStore
from tests.tidings.promises import MOVING

ANSWERS: Mapping[str, Callable[[], Answer | Exception]] = {
    "200": lambda: Answer(status=200, retry_after=None),
    "410": lambda: Answer(status=410, retry_after=None),
    "500": lambda: Answer(status=500, retry_after=None),
    "503, six hours": lambda: Answer(status=503, retry_after="21600"),
    "refused": lambda: TransientError("connect", "no connection"),
    "taken, no answer": lambda: AmbiguousError("connection_lost", "no answer"),
}
TAKEN = ("200", "taken, no answer")
RANK = {
    **dict.fromkeys((Status.PENDING, Status.RETRYING), 0),
    Status.UNKNOWN: 1,
    **dict.fromkeys((Status.FAILED, Status.EXPIRED, Status.CANCELED, Status.SUPPRESSED), 2),
    Status.SENT: 3,
    **dict.fromkeys((Status.DELIVERED, Status.UNDELIVERED), 4),
}
"""In a generation, an event never tells a lower one than the event before it."""


@dataclass(kw_only=True)
class Listener:
    """An endpoint, as it must be."""

    id: str
    types: Sequence[str]
    state: EndpointState = EndpointState.ENABLED
    changed_at: datetime
    due: set[int] = field(default_factory=set)  # the events that it must be told
    taken: set[int] = field(default_factory=set)


class Told:
    """Endpoints, their receiver, and a reader of the feed."""

    def __init__(
        self, store: WeakStore, clock: TestClock, reached: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.clock, self._store, self._reached = clock, store, reached
        self.webhooks, self._feed = SqlWebhooks(store.database), EventFeed(store.database, sleep=lambda _: None)
        self.listeners: dict[str, Listener] = {}
        self.answers: list[str] = []
        self.complaints: list[str] = []
        self.events: list[Mapping[str, Any]] = []  # of the feed
        self._after = 0
        self._bodies: dict[tuple[str, str], bytes] = {}
        # A worker remembers an endpoint for a second of its own clock, which here is the test's.
        module = "tidings.providers.webhooks.provider"
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(monotonic=lambda: clock().timestamp()))
        monkeypatch.setattr(f"{module}.post", self._post)
        self.provider = WebhookProvider(WebhookSettings(secret="m" * 32, via="http://127.0.0.1:9"), now=clock)
        self.provider.look_up_with(self.webhooks)

    # --- what operators do --------------------------------------------------------------------------------------------

    def create(self, types: Sequence[str]) -> None:
        id, now = new_id(self.clock()), self.clock()
        made = WebhookEndpoint(
            id=id, tenant=TENANT, url=f"https://{id}.example/", events=tuple(types), created_at=now, changed_at=now
        )
        assert self.webhooks.create(made)
        self.listeners[id] = Listener(id=id, types=types, changed_at=now)

    def change(self, listener: Listener, state: EndpointState) -> None:
        found = self.webhooks.set_state(TENANT, listener.id, state, "operator")
        assert found is not None
        assert found.state is state
        if listener.state is not state:
            listener.state, listener.changed_at = state, self.clock()

    def replay(self, listener: Listener, only: Only) -> None:
        """Every event of before may be told now."""
        wanted = WebhookReplay(
            tenant=TENANT,
            endpoint=listener.id,
            since=self.clock() - timedelta(days=1000),
            until=self.clock() + timedelta(days=1),
            only=only,
            dry_run=False,
        )
        self.webhooks.replay(wanted, 1000)
        if only is not Only.FAILED:
            self.look()
            listener.due |= {event["data"]["seq"] for event in self.events if event["type"] in listener.types}

    @property
    def alive(self) -> Sequence[Listener]:
        return [one for one in self.listeners.values() if one.state is not EndpointState.DELETED]

    def waiting(self) -> list[Notification]:
        """Webhooks that have not ended."""
        found = self._store.find(Selection(tenant=TENANT, channel=CHANNEL, statuses=sorted(MOVING)), 1000)
        return sorted(found, key=lambda row: row.id)

    # --- the receiver -------------------------------------------------------------------------------------------------

    def _post(self, url: str, _addresses: object, body: bytes, headers: Mapping[str, str], **_: object) -> Answer:
        listener = self.listeners[url.removeprefix("https://").removesuffix(".example/")]
        id = headers["webhook-id"]
        known_for = (self.clock() - listener.changed_at).total_seconds()
        if listener.state is not EndpointState.ENABLED and known_for > LOOK_EVERY:
            self.complaints.append(f"a webhook to an endpoint that is {listener.state}")
        if self._bodies.setdefault((listener.id, id), body) != body:
            self.complaints.append(f"{id} came with another body")
        if id != f"evt_{json.loads(body)['data']['seq']}":
            self.complaints.append(f"{id} is not the id of its event")
        answer = self.answers.pop(0) if self.answers else "200"
        if answer in TAKEN:
            listener.taken.add(json.loads(body)["data"]["seq"])
        self._reached("call")
        outcome = ANSWERS[answer]()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    # --- what must be true --------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Read the feed to its end, and what became of the endpoints."""
        before = len(self.events)
        while (page := self._feed.page(TENANT, self._after, 3)).events or page.more:
            self.events += page.events
            self._after = page.after
        for listener in self.alive:
            listener.due |= {one["data"]["seq"] for one in self.events[before:] if one["type"] in listener.types}
        for listener in self.listeners.values():
            found = self.webhooks.endpoint(listener.id)
            assert found is not None
            if found.state is not listener.state:
                listener.state, listener.changed_at = found.state, self.clock()

    def hold(self, rows: Mapping[str, Notification]) -> None:
        self.look()
        assert not self.complaints, self.complaints
        self._feed_misses_nothing()
        self._feed_ends_where_the_rows_are(rows)
        self._each_event_has_one_webhook()

    def _feed_misses_nothing(self) -> None:
        """What a report says without a change may be told or not; all else must be."""
        e = events.c
        chosen = (
            select(e.seq, e.notification_id, e.status, e.by).where(e.status.in_((CREATED, *REPORTED))).order_by(e.seq)
        )
        with self._store.database.engine.begin() as connection:
            mail = select(notifications.c.id).where(notifications.c.channel != CHANNEL)
            found = connection.execute(chosen.where(e.notification_id.in_(mail))).all()
        must, may, last = set[int](), set[int](), dict[str, str]()
        for seq, id, status, by in found:
            (may if by in ("receipt", "lookup") and last.get(id) == status else must).add(seq)
            last[id] = status
        told = [event["data"]["seq"] for event in self.events]
        assert told == sorted(set(told)), "the feed told an event twice, or late"
        assert must <= set(told) <= must | may, f"the feed missed {must - set(told)}"

    def _feed_ends_where_the_rows_are(self, rows: Mapping[str, Notification]) -> None:
        last: dict[str, Mapping[str, Any]] = {}
        for event in self.events:
            data = event["data"]
            before = last.get(data["id"])
            if before is not None and before["generation"] == data["generation"]:
                assert RANK[data["status"]] >= RANK[before["status"]], f"moved back: {before}, {data}"
            last[data["id"]] = data
        for id, row in rows.items():
            if row.status is Status.SENDING or (row.status is Status.PENDING and row.generation == 1):
                continue
            assert last[id]["status"] == row.status, f"the feed says {last[id]}, and the row {row.status}"

    def _each_event_has_one_webhook(self) -> None:
        n = notifications.c
        with self._store.database.engine.begin() as connection:
            found = connection.execute(select(n.recipient, n.content).where(n.channel == CHANNEL)).all()
        told = Counter((recipient, json.loads(content)["data"]["seq"]) for recipient, content in found)
        due = Counter((one.id, seq) for one in self.listeners.values() for seq in one.due)
        assert told == due, f"webhooks that are missing: {due - told}, too many: {told - due}"


def types_of(*statuses: Status) -> Sequence[str]:
    return [f"{PREFIX}{status}" for status in statuses]
