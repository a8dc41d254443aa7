"""Models of the answers about notifications."""

import json
from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from tidings.domain.channels import CHANNELS, Content
from tidings.domain.notification import (
    PROVEN,
    Notification,
    OnAmbiguous,
    Priority,
    Status,
    TimelineEntry,
    open_attempts,
)
from tidings.domain.webhook import HELD


class View(BaseModel):
    model_config = ConfigDict(frozen=True)

    def encoded(self) -> bytes:
        return self.model_dump_json(exclude_none=True).encode()


class AcceptedView(View):
    """The row is committed."""

    id: str = Field(examples=["01930b6c-4a5e-7c3b-9d2e-6f1a2b3c4d5e"])
    status: Status = Status.PENDING
    channel: str
    created_at: datetime
    send_at: datetime | None = None
    expires_at: datetime | None = None
    replayed: bool | None = Field(
        None, description="true where an item's idempotency_key was known, and nothing new was stored"
    )


class ErrorView(View):
    """Why an attempt did not succeed."""

    error_class: str = Field(description="transient, permanent, ambiguous, account")
    code: str = Field(description="the provider's own code, or a short name that Tidings gives")
    message: str


class EventView(View):
    """A change of state."""

    status: Status
    at: datetime
    generation: int
    attempt: int
    by: str | None = Field(
        default=None,
        description="who says so: provider (its answer), receipt (its later report), lookup (we asked it), operator"
        " (or the caller), sweep (Tidings itself: expired, suppressed, not called, or its worker was lost); missing"
        " where an older release wrote it",
    )
    provider: str | None = None
    provider_message_id: str | None = None
    provider_response: str | None = Field(
        default=None, description="the provider's answer when it accepted, like a mail server's queue id"
    )
    raw_sha256: str | None = Field(
        default=None, description="of a receipt: the SHA-256 of the provider's report as it arrived, in hexadecimal"
    )
    error: ErrorView | None = None
    may_have_been_sent: bool | None = Field(default=None, description="as the notification's field, at that time")
    next_attempt_at: datetime | None = None
    note: str | None = Field(
        default=None, description="what suppression did to this attempt: copies left out, or sent nevertheless"
    )


class NotificationView(View):
    """A notification, as it is now."""

    id: str
    status: Status
    channel: str
    recipient: Any
    content: Any = None  # left out of lists
    priority: Priority
    on_ambiguous: OnAmbiguous
    max_attempts: int
    metadata: dict[str, str] | None = None
    ignore_suppression: bool | None = None
    category: str | None = None
    critical: bool | None = Field(None, description="true: opt-outs of its category do not suppress it")
    send_at: datetime | None = None
    expires_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    generation: int = Field(description="1, and one more for each replay")
    attempts: int = Field(description="in this generation")
    next_attempt_at: datetime | None = None
    provider: str | None = None
    provider_message_id: str | None = None
    last_error: ErrorView | None = None
    may_have_been_sent: bool | None = Field(
        None,
        description="true if it is not known to be sent, but the provider may have accepted an attempt;"
        " missing otherwise",
    )
    receipt: str | None = Field(
        None,
        description="`missing`: it is sent, its provider was asked to report what became of it, and did not within 72"
        " hours; nobody knows more",
    )
    events: list[EventView] | None = Field(None, description="the timeline, oldest first; left out of lists")


def _at(next_attempt: datetime | None) -> datetime | None:
    """None also for one that is held: it has no time."""
    return None if next_attempt == HELD else next_attempt


class Page(View):
    """One page of a list, in the order of the query. `next_cursor` is missing on the last page."""

    notifications: list[NotificationView]
    next_cursor: str | None = None


def state(status: str, doubtful: bool | None = None) -> str:
    """A status in words. `unknown` needs no addition: it says that the notification may have been sent."""
    return f"{status} (may have been sent)" if doubtful and status != Status.UNKNOWN else str(status)


def accepted(notification: Notification, *, replayed: bool | None = None) -> AcceptedView:
    """The answer to a submit. A repeated request gets the same, whatever has happened to the notification since."""
    return AcceptedView(
        id=notification.id,
        status=Status.PENDING,
        channel=notification.channel,
        created_at=notification.created_at,
        send_at=notification.send_at,
        expires_at=notification.expires_at,
        replayed=replayed,
    )


def to_response(
    notification: Notification, events: Sequence[TimelineEntry] | None = None, *, doubtful: Collection[str] = ()
) -> NotificationView:
    """`doubtful`: ids that may have been sent, if `events` is not given. See `Store.may_have_been_sent`."""
    is_doubtful = notification.id in doubtful or bool(open_attempts(events or ()))
    return NotificationView(
        id=notification.id,
        status=notification.status,
        channel=notification.channel,
        recipient=CHANNELS.get(notification.channel, Content).shown(notification.recipient),
        content=json.loads(notification.content) if notification.content else None,
        priority=notification.priority,
        on_ambiguous=notification.on_ambiguous,
        max_attempts=notification.max_attempts,
        metadata=json.loads(notification.metadata) if notification.metadata is not None else None,
        ignore_suppression=notification.ignore_suppression or None,
        category=notification.category,
        critical=notification.critical or None,
        send_at=notification.send_at,
        expires_at=notification.expires_at,
        created_at=notification.created_at,
        updated_at=notification.updated_at,
        generation=notification.generation,
        attempts=notification.attempt,
        next_attempt_at=_at(notification.next_attempt_at),
        provider=notification.provider,
        provider_message_id=notification.provider_message_id,
        last_error=_error(notification),
        may_have_been_sent=(is_doubtful and notification.status not in PROVEN) or None,
        receipt=notification.receipt if notification.status is Status.SENT else None,
        events=list(_timeline(notification, events)) if events is not None else None,
    )


def page_of(found: Sequence[Notification], limit: int, *, doubtful: Collection[str] = ()) -> Page:
    """`found` holds one more than `limit` if there is a next page. `doubtful`: see `to_response`."""
    kept = found[:limit]
    more = len(found) > limit
    return Page(
        notifications=[to_response(item, doubtful=doubtful) for item in kept], next_cursor=kept[-1].id if more else None
    )


def _error(source: Notification | TimelineEntry) -> ErrorView | None:
    if source.error_class is None:
        return None
    return ErrorView(error_class=source.error_class, code=source.error_code or "", message=source.error_message or "")


def _timeline(notification: Notification, events: Sequence[TimelineEntry]) -> Iterator[EventView]:
    """The first event is made from the row. An attempt's row has two events: its start and its end."""
    yield EventView(status=Status.PENDING, at=notification.created_at, generation=1, attempt=0)
    is_doubtful = False
    for place, event in enumerate(events, start=1):
        if event.started_at is not None:
            yield _sending(event, event.started_at, is_doubtful)
        is_doubtful = bool(open_attempts(events[:place]))
        yield EventView(
            status=event.status,
            at=event.at,
            generation=event.generation,
            attempt=event.attempt,
            by=event.by,
            provider=event.provider,
            provider_message_id=event.provider_message_id,
            provider_response=event.provider_response,
            raw_sha256=event.raw_sha256,
            error=_error(event),
            may_have_been_sent=(is_doubtful and event.status not in PROVEN) or None,
            next_attempt_at=_at(event.next_attempt_at),
            note=event.note,
        )
    if notification.status is Status.SENDING and notification.claimed_at is not None:
        yield _sending(notification, notification.claimed_at, is_doubtful)


def _sending(source: Notification | TimelineEntry, at: datetime, is_doubtful: bool) -> EventView:
    return EventView(
        status=Status.SENDING,
        at=at,
        generation=source.generation,
        attempt=source.attempt,
        may_have_been_sent=is_doubtful or None,
    )
