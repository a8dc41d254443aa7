"""The API of webhooks, and the way of a status webhook through all parts."""

from datetime import timedelta
from typing import Any

import pytest
from tidings.domain.errors import OnHold
from tidings.domain.notification import Status
from tidings.messaging.envelope import IncomingMessage
from tidings.ports import Acceptance, SendRequest, Settlement
from tidings.providers.webhooks.provider import body_of
from tidings.runtime.container import Container

from tests import make
from tests.functions.served import Answer, Caller, Keys, Lines, later, mail, replay_of

PATH = "/v1/webhooks"
URL = "https://orders.example/hook"


def created(replay: Caller, **more: Any) -> dict[str, Any]:
    answer = replay("POST", PATH, {"url": URL, **more})
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.body
    return found


def ended(container: Container, id: str, status: Status = Status.SENT) -> None:
    row = container.store.get("acme", id)
    assert row is not None
    claims = container.store.claim([make.message(row)], timedelta(seconds=60))
    sent: dict[str, Any] = {"provider": "smtp", "provider_message_id": "m"}
    container.store.settle([Settlement(claims=claims, notification=claims.acquired[0], status=status, **sent)])


def told(container: Container, replay: Caller) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = replay("GET", "/v1/notifications", query={"channel": "webhook"}).body["notifications"]
    return found


def test_a_secret_is_shown_once_and_anew_at_a_rotation(replay: Caller, lines: Lines) -> None:
    one = created(replay)
    assert one["secret"].startswith("whsec_")
    assert (one["state"], one["secret_version"]) == ("enabled", 1)
    assert "notification.retrying" not in one["events"]
    path = f"{PATH}/{one['id']}"
    assert "secret" not in replay("GET", path).body
    assert all("secret" not in found for found in replay("GET", PATH).body["webhooks"])
    new = replay("POST", f"{path}/rotate").body
    assert (new["secret"] != one["secret"], new["secret_version"]) == (True, 2)
    assert "previous_secret_until" in new
    assert one["secret"] not in str(lines.__dict__)
    assert [line["change"] for line in lines.named("webhook_changed")] == ["created", "rotated"]


def test_a_webhook_of_another_tenant_is_not_there(replay: Caller, keys: Keys) -> None:
    path = f"{PATH}/{created(replay)['id']}"
    acts = [("GET", path), *(("POST", f"{path}/{act}") for act in ("rotate", "enable", "disable", "delete", "test"))]
    for method, target in acts:
        assert replay(method, target, key=keys.other).status == 404
    assert replay("POST", f"{path}/replay", {"since": later(days=-1)}, key=keys.other).status == 404
    assert replay("GET", PATH, key=keys.other).body == {"webhooks": []}
    assert replay("POST", f"{PATH}/no-id/test").status == 404
    assert replay("POST", PATH, {"url": URL}, key=keys.send).status == 403


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"url": "http://orders.example/"},
        {"url": "https://user@orders.example/"},
        {"url": URL, "events": ["notification.sending"]},
        {"url": URL, "events": "notification.sent"},
        {"url": URL, "secret": "mine"},
        {"url": "https://" + "a" * 600},
    ],
)
def test_a_wrong_webhook_is_refused(replay: Caller, wrong: dict[str, Any]) -> None:
    assert replay("POST", PATH, wrong).status == 422


def test_disabled_enabled_deleted(replay: Caller, intake: Caller, container: Container) -> None:
    path = f"{PATH}/{created(replay, events=['notification.sent', 'notification.sent'])['id']}"
    for _ in range(2):
        off = replay("POST", f"{path}/disable").body
    assert (off["state"], off["reason"], off["events"]) == ("disabled", "operator", ["notification.sent"])
    ended(container, intake("POST", "/v1/notifications", mail()).body["id"])
    assert replay("GET", path).body["held"] == 1
    (held,) = told(container, replay)
    assert "next_attempt_at" not in held  # it has no time
    assert replay("POST", "/v1/sweep").body["published"] == 0
    on = replay("POST", f"{path}/enable").body
    assert (on["state"], "reason" in on) == ("enabled", False)
    assert replay("POST", "/v1/sweep").body["published"] == 1
    assert replay("GET", path).body["held"] == 0
    assert replay("POST", f"{path}/delete").status == 200
    assert replay("GET", path).status == 404


def test_status_webhooks_are_listed_where_their_channel_is_named(
    replay: Caller, intake: Caller, container: Container
) -> None:
    created(replay)
    id = intake("POST", "/v1/notifications", mail()).body["id"]
    ended(container, id)
    assert [one["id"] for one in intake("GET", "/v1/notifications").body["notifications"]] == [id]
    assert len(told(container, replay)) == 1
    lines = {line["channel"]: line["accepted"] for line in replay("GET", "/v1/ledger").body["lines"]}
    assert lines == {"email": 1, "webhook": 1}
    assert replay("GET", "/v1/audit").body["findings"] == []


def test_a_test_event_goes_to_the_endpoint(replay: Caller, container: Container) -> None:
    one = created(replay)
    id = replay("POST", f"{PATH}/{one['id']}/test").body["id"]
    row = container.store.get("acme", id)
    assert row is not None
    assert (row.channel, row.recipient) == ("webhook", one["id"])
    assert '"tidings.test"' in str(row.content)


def test_a_replay_counts_and_sends(replay: Caller, intake: Caller, container: Container) -> None:
    ended(container, intake("POST", "/v1/notifications", mail()).body["id"])
    path = f"{PATH}/{created(replay)['id']}/replay"
    since = later(days=-1)
    assert replay("POST", path, {"since": since, "dry_run": True}).body == {
        "written": 1,
        "replayed": 0,
        "dry_run": True,
    }
    assert replay("POST", path, {"since": since}).body["written"] == 1
    assert replay("POST", path, {"since": since}).body["written"] == 0
    assert len(told(container, replay)) == 1
    assert replay("POST", path, {"only": "all"}).status == 422


def test_the_feed_goes_on_from_where_it_was_left(replay: Caller, intake: Caller, container: Container) -> None:
    ids = [intake("POST", "/v1/notifications", mail(metadata={"n": str(n)})).body["id"] for n in range(3)]
    for id in ids:
        ended(container, id)
    first = intake("GET", "/v1/events", query={"limit": "2"}).body
    assert ([event["data"]["id"] for event in first["events"]], first["more"]) == (ids[:2], True)
    assert first["events"][0]["type"] == "notification.sent"
    assert first["events"][0]["data"]["metadata"] == {"n": "0"}
    rest = replay("GET", "/v1/events", query={"after": str(first["next_after"])}).body
    assert [event["data"]["id"] for event in rest["events"]] == ids[2:]
    again: Answer = intake("GET", "/v1/events", query={"after": str(rest["next_after"])})
    assert again.body == {"events": [], "next_after": rest["next_after"], "more": False}
    for wrong in ("-1", "x", str(2**63)):
        assert intake("GET", "/v1/events", query={"after": wrong}).status == 422


def test_an_acceptance_is_told_where_an_endpoint_names_it(replay: Caller, intake: Caller) -> None:
    assert "notification.created" not in created(replay)["events"]
    intake("POST", "/v1/notifications", mail())
    assert intake("GET", "/v1/events").body["events"] == []  # nobody asked for it
    path = f"{PATH}/{created(replay, events=['notification.created'])['id']}"
    keyed = mail(metadata={"order": "4711"}, idempotency_key="one")
    batch = [keyed, mail(send_at=later(days=1)), keyed, mail(recipient="not an address")]
    results = intake("POST", "/v1/notifications", batch).body["results"]
    single = [intake("POST", "/v1/notifications", mail(), headers={"idempotency-key": '"two"'}).body for _ in range(2)]
    refused = intake("POST", "/v1/notifications", mail(expires_at=later(seconds=-5)))
    assert (refused.status, replay("POST", f"{path}/test").status) == (422, 200)
    listed = intake("GET", "/v1/events").body["events"]
    assert [event["data"]["id"] for event in listed] == [results[0]["id"], results[1]["id"], single[0]["id"]]
    assert {event["type"] for event in listed} == {"notification.created"}
    assert listed[0]["data"]["status"] == "pending"
    assert listed[0]["data"]["metadata"] == {"order": "4711"}
    assert replay("POST", "/v1/sweep").body["published"] == 3
    timeline = intake("GET", f"/v1/notifications/{single[0]['id']}").body["events"]
    assert [entry["status"] for entry in timeline] == ["pending"]
    assert replay("GET", "/v1/audit").body["findings"] == []


def test_without_the_setting_it_says_what_is_missing(container: Container, keys: Keys) -> None:
    from tidings.providers.webhooks.settings import WebhookSettings

    unset = replay_of(container, keys, webhook_settings=WebhookSettings())
    answer = unset("POST", PATH, {"url": URL})
    assert answer.status == 409
    assert "TIDINGS_WEBHOOKS_SECRET" in answer.body["detail"]


class Scripted:
    """A provider whose endpoint is gone at first."""

    name = "webhooks"
    timeout = timedelta(seconds=5)

    def __init__(self) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        self.is_gone = True

    def send(self, request: SendRequest) -> Acceptance:
        if self.is_gone:
            raise OnHold("410", "the receiver answered HTTP 410: it is disabled")
        content: Any = request.content
        self.bodies.append((content.id, body_of(content, request.id)))
        return Acceptance(provider_message_id=content.id)

    def close(self) -> None:
        pass


def test_what_a_gone_endpoint_missed_comes_when_it_is_enabled(
    replay: Caller, intake: Caller, container: Container
) -> None:
    path = f"{PATH}/{created(replay)['id']}"
    id = intake("POST", "/v1/notifications", mail()).body["id"]
    ended(container, id)
    provider = Scripted()
    delivery = container.delivery(provider)

    def deliver() -> None:
        """What the sweep has published."""
        assert replay("POST", "/v1/sweep").body["published"] == 1
        row = container.store.get("acme", told(container, replay)[0]["id"])
        assert row is not None
        delivery.deliver([IncomingMessage(queue="tidings.webhook", body=b"", message=make.message(row))])

    deliver()
    state = replay("GET", path).body
    assert (state["state"], state["reason"], state["held"]) == ("disabled", "gone", 1)
    assert state["failures"][0]["code"] == "410"
    provider.is_gone = False
    replay("POST", f"{path}/enable")
    deliver()
    delivery.close()
    ((event, body),) = provider.bodies
    (listed,) = intake("GET", "/v1/events").body["events"]
    assert event == listed["id"]
    assert id.encode() in body
    assert replay("GET", "/v1/audit").body["findings"] == []
