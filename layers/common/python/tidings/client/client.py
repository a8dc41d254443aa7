"""The client of the intake API."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from tidings.api.feed_models import FeedPage
from tidings.api.responses import NotificationView, Page
from tidings.client.drafts import Accepted, Draft
from tidings.client.errors import Refused, Unexpected
from tidings.client.transport import Answer, Transport
from tidings.client.webhooks import WebhookEvent

M = TypeVar("M", bound=BaseModel)

MAX_ITEMS = 1000  # of an array: the API's limit
MAX_BYTES = 8 * 1024 * 1024  # of an array; the API's limit is 16 MiB


class Client:
    """Calls the intake with an API key of scope `send`. Thread-safe; keeps connections alive.

    Every request is retried after a lost connection, a time-out, 408, 429, 502, 503 or 504, waiting as long as
    Retry-After says, until `deadline`. All methods raise Refused, Unreachable or Unexpected.
    """

    def __init__(self, *, url: str, api_key: str, timeout: float = 10.0, deadline: float = 60.0) -> None:
        """`timeout`: seconds to wait for the server in each try; `deadline`: seconds for all tries of a request, 0: no
        retries. Opens no connection. Raise ValueError for an invalid URL or key."""
        self._transport = Transport(
            url=url, api_key=api_key, timeout=timeout, deadline=deadline or timeout, retries=deadline > 0
        )

    def send(
        self,
        channel: str,
        recipient: str | Mapping[str, str],
        content: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        send_at: datetime | None = None,
        expires_at: datetime | None = None,
        priority: str | None = None,
        on_ambiguous: str | None = None,
        max_attempts: int | None = None,
        metadata: Mapping[str, str] | None = None,
        category: str | None = None,
        critical: bool | None = None,
    ) -> Accepted:
        """Return when the row is committed. The fields are those of Draft; without an idempotency key, one is made."""
        own_key = {} if idempotency_key is None else {"idempotency_key": idempotency_key}
        draft = Draft(
            channel=channel,
            recipient=recipient,
            content=content,
            send_at=send_at,
            expires_at=expires_at,
            priority=priority,
            on_ambiguous=on_ambiguous,
            max_attempts=max_attempts,
            metadata=metadata,
            category=category,
            critical=critical,
            **own_key,
        )
        return self.send_draft(draft)

    def send_draft(self, draft: Draft) -> Accepted:
        """Like `send`."""
        body = draft.document()
        key = body.pop("idempotency_key")
        answer = self._transport.request(
            "POST", "/v1/notifications", body=body, headers={"idempotency-key": _quoted(key)}
        )
        replayed = answer.headers.get("idempotency-replayed") == "true"
        return self._accepted(answer.document, key, replayed=replayed)

    def send_many(self, drafts: Sequence[Draft]) -> list[Accepted | Refused]:
        """Send any number, up to MAX_ITEMS per request. One result per draft, in order: an invalid draft does not
        affect the others. If it raises, some may have been accepted; sending the same drafts again sends none twice."""
        outcomes: list[Accepted | Refused] = []
        for batch in _batches(drafts):
            results = self._results([draft.document() for draft in batch])
            try:
                outcomes += [self._outcome(draft, result) for draft, result in zip(batch, results, strict=True)]
            except (KeyError, TypeError, ValueError):
                raise self._unexpected() from None
        return outcomes

    def _results(self, body: Sequence[Mapping[str, Any]]) -> Any:
        """One result per item; if every item is invalid, the API answers 422 with the same results."""
        try:
            document = self._transport.request("POST", "/v1/notifications", body=body).document
        except Refused as refused:
            if not isinstance(refused.document, dict) or "results" not in refused.document:
                raise
            document = refused.document
        return document.get("results") if isinstance(document, dict) else None

    def get(self, id: str) -> NotificationView:
        """The notification with its timeline."""
        return self._read(NotificationView, self._transport.request("GET", _path(id)))

    def page(self, *, cursor: str | None = None, limit: int = 200, **filters: Any) -> Page:
        """One page, newest first. Filters: status, channel, recipient, since, until. `cursor`: a page's next_cursor."""
        given = {"cursor": cursor, "limit": limit, **filters}
        query = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in given.items()
            if value is not None
        }
        return self._read(Page, self._transport.request("GET", "/v1/notifications", query=query))

    def list(self, **filters: Any) -> Iterator[NotificationView]:
        """All matching notifications, newest first, fetched page by page. Filters as for `page`."""
        cursor = None
        while True:
            page = self.page(cursor=cursor, **filters)
            yield from page.notifications
            if (cursor := page.next_cursor) is None:
                return

    def cancel(self, id: str) -> NotificationView:
        """Cancel it; repeating that is harmless. Raise Refused with status 409 if it is claimed or terminal."""
        return self._read(NotificationView, self._transport.request("POST", f"{_path(id)}/cancel"))

    def events(self, *, after: int = 0, limit: int = 500) -> Iterator[WebhookEvent]:
        """The events after this `seq` that there are now, in order and without gaps. Keep the `seq` of the last one
        that you have dealt with, and give it the next time: so none is missed, whatever fails."""
        while True:
            page = self._feed(after, limit)
            yield from page[0]
            after = page[1]
            if not page[2]:
                return

    def follow(
        self, *, after: int = 0, every: float = 1.0, stop: Callable[[], bool] = lambda: False
    ) -> Iterator[WebhookEvent]:
        """Like `events`, and then each event as it comes, until `stop`. `every`: seconds between two looks."""
        while not stop():
            events, after, more = self._feed(after, 500)
            yield from events
            if not more and not stop():
                time.sleep(every)

    def _feed(self, after: int, limit: int) -> tuple[Sequence[WebhookEvent], int, bool]:
        answer = self._transport.request("GET", "/v1/events", query={"after": after, "limit": limit})
        page = self._read(FeedPage, answer)
        return [WebhookEvent(**event.model_dump()) for event in page.events], page.next_after, page.more

    def close(self) -> None:
        """Close the idle connections; the next request opens a new one."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _outcome(self, draft: Draft, result: Any) -> Accepted | Refused:
        if "error" in result:
            return Refused.from_document(int(result["error"]["status"]), result["error"])
        return self._accepted(result, draft.idempotency_key)

    def _accepted(self, document: Any, key: str, *, replayed: bool | None = None) -> Accepted:
        try:
            return Accepted.model_validate({**document, "idempotency_key": key, "replayed": replayed})
        except (ValidationError, TypeError):
            raise self._unexpected() from None

    def _read(self, model: type[M], answer: Answer) -> M:
        try:
            return model.model_validate(answer.document)
        except ValidationError:
            raise self._unexpected() from None

    def _unexpected(self) -> Unexpected:
        return Unexpected(f"the server at {self._transport.url} is not Tidings, or has another version")


def _path(id: str) -> str:
    return f"/v1/notifications/{quote(id, safe='')}"


def _quoted(key: str) -> str:
    """As a quoted string, the form of the header in the IETF draft."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _batches(drafts: Sequence[Draft]) -> Iterator[Sequence[Draft]]:
    """In order, each within the API's limits unless a single draft exceeds them."""
    start, size = 0, 0
    for index, draft in enumerate(drafts):
        weight = len(json.dumps(draft.document()))
        if index > start and (index - start == MAX_ITEMS or size + weight > MAX_BYTES):
            yield drafts[start:index]
            start, size = index, 0
        size += weight
    if start < len(drafts):
        yield drafts[start:]
