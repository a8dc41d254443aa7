"""Push messages that the app acknowledges: FCM reports nothing."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tidings.api.app import App
from tidings.api.http import Request
from tidings.domain.channels import PushContent
from tidings.domain.errors import AmbiguousError
from tidings.domain.notification import Notification, Status
from tidings.domain.receipt import By
from tidings.ports import SendRequest, Settlement
from tidings.providers.fcm.message import acknowledged
from tidings.providers.fcm.receipts import FIELD
from tidings.runtime.container import Container

from tests import make
from tests.functions.test_receipts import (  # noqa: F401  # `app` is a fixture
    ADDRESSES,
    BASE,
    app,
    status,
)

CONTENT = PushContent(title="Shipped")


def address(row: Notification, provider: str = "fcm", **changes: Any) -> str:
    values = {"id": row.id, "generation": row.generation, "attempt": 1, "recipient": row.recipient, "content": CONTENT}
    return ADDRESSES.for_attempt(provider, SendRequest(**{**values, **changes}))


@pytest.fixture
def acknowledge(app: App) -> Callable[[str], int]:  # noqa: F811
    def post(url: str) -> int:
        path, _, query = url.removeprefix(BASE).partition("?n=")
        request = Request(method="POST", path=path, query={"n": query} if query else {})
        return asyncio.run(app.answer(request)).status

    return post


@pytest.fixture
def pushed(container: Container) -> Callable[..., Notification]:
    def made(outcome: Status = Status.SENT, **more: Any) -> Notification:
        row = make.notification(datetime.now(UTC), channel="push", recipient="token:device-1")
        container.store.insert([row])
        claims = container.store.claim([make.message(row)], timedelta(seconds=60))
        values = {"provider": "fcm", "status": outcome, **more}
        container.store.settle([Settlement(claims=claims, notification=claims.acquired[0], **values)])
        return row

    return made


def test_what_the_app_acknowledges_is_delivered_once(
    container: Container, acknowledge: Callable[[str], int], pushed: Callable[..., Notification]
) -> None:
    row = pushed(provider_message_id="projects/p/messages/1")
    assert [acknowledge(address(row)) for _ in range(3)] == [204] * 3
    found = container.store.get(row.tenant, row.id)
    assert found is not None
    assert (found.status, found.provider_message_id) == (Status.DELIVERED, "projects/p/messages/1")
    assert [(one.status, one.by) for one in container.store.events(row.id)] == [
        (Status.SENT, By.PROVIDER),
        (Status.DELIVERED, By.RECEIPT),
    ]


def test_an_acknowledgement_cancels_the_resend(
    container: Container, acknowledge: Callable[[str], int], pushed: Callable[..., Notification]
) -> None:
    error = AmbiguousError("timeout", "no answer")
    row = pushed(Status.RETRYING, error=error, delay=timedelta(seconds=1))
    assert acknowledge(address(row)) == 204
    assert status(container, row) is Status.DELIVERED


def test_a_forged_address_does_nothing(
    container: Container, acknowledge: Callable[[str], int], pushed: Callable[..., Notification]
) -> None:
    row, other = pushed(), pushed()
    mine = address(row)
    wrong = [
        mine.replace(row.id, other.id),
        mine[:-1] + ("A" if mine[-1] != "A" else "B"),
        mine.partition("?")[0],
        address(row, "twilio").replace("/twilio/", "/fcm/"),  # sealed for another provider
        mine.replace(".1.1.", ".1.2."),
    ]
    assert [acknowledge(url) for url in wrong] == [401] * len(wrong)
    assert status(container, row) is status(container, other) is Status.SENT


def test_the_field_is_left_out_where_it_does_not_fit_or_belong() -> None:
    url = address(make.notification(datetime.now(UTC)))
    assert acknowledged(CONTENT, "token", url).data == {FIELD: url}
    assert acknowledged(CONTENT, "token", None) is CONTENT
    assert acknowledged(CONTENT, "topic", url) is CONTENT
    own = PushContent(data={FIELD: "the app's own"})
    assert acknowledged(own, "token", url) is own
    for size, fits in ((4051 - len(FIELD) - len(url) - 1, True), (4051 - len(FIELD) - len(url), False)):
        full = PushContent(data={"k": "x" * size})
        assert (FIELD in acknowledged(full, "token", url).data) is fits


@pytest.mark.parametrize(("on", "asked"), [("true", True), ("false", False), ("", False)])
def test_the_app_is_asked_only_if_it_is_switched_on(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, on: str, asked: bool
) -> None:
    from tidings.providers.fcm import from_settings

    monkeypatch.setenv("TIDINGS_RECEIPTS_URL", BASE)
    monkeypatch.setenv("TIDINGS_RECEIPTS_SECRET", "s" * 32)
    monkeypatch.setenv("TIDINGS_FCM_ACKNOWLEDGE", on)
    assert (from_settings()._callbacks is not None) is asked
    assert json.loads(settings["TIDINGS_FCM_SERVICE_ACCOUNT"])["project_id"] == "p"
