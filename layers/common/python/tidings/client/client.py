"""The intake's five calls."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from tidings.api.responses import NotificationView, Page
from tidings.client.drafts import Accepted, Draft
from tidings.client.errors import Refused, Unexpected
from tidings.client.transport import Answer, Transport

M = TypeVar("M", bound=BaseModel)

ITEMS = 1000  # of an array, at most: the API's limit
BYTES = 8 * 1024 * 1024  # of an array; the API takes 16 MiB


class Client:
    """The intake, with a key of scope `send`. Thread-safe; keeps a connection a thread alive.

    Every call may be repeated, and is: after a lost connection, a time-out, 429, 502, 503 or 504, waiting as long as
    Retry-After says, until `deadline`. All raise Refused, Unreachable or Unexpected.
    """

    def __init__(self, *, url: str, api_key: str, timeout: float = 10.0, deadline: float = 60.0) -> None:
        """`timeout`: seconds to wait for the server, each time; `deadline`: seconds of a call with all its tries, or 0:
        the first try is the last. Opens nothing. Raise ValueError for what is no URL or no key."""
        self._transport = Transport(
            url=url, api_key=api_key, timeout=timeout, deadline=deadline or timeout, repeats=deadline > 0
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
    ) -> Accepted:
        """Return once the row is committed. The fields are those of a Draft; without a key, one is made."""
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
            **own_key,
        )
        return self.send_draft(draft)

    def send_draft(self, draft: Draft) -> Accepted:
        """As `send`."""
        body = draft.document()
        key = body.pop("idempotency_key")
        answer = self._transport.call("POST", "/v1/notifications", body=body, headers={"idempotency-key": _quoted(key)})
        replayed = answer.headers.get("idempotency-replayed") == "true"
        return self._accepted(answer.document, key, replayed=replayed)

    def send_many(self, drafts: Sequence[Draft]) -> list[Accepted | Refused]:
        """Each one's end, in order: a bad one spoils none of the others. Any number, a thousand a request. Where it
        raises, some may have been accepted: the same drafts again are no others."""
        ends: list[Accepted | Refused] = []
        for part in _parts(drafts):
            results = self._results([draft.document() for draft in part])
            try:
                ends += [self._end(draft, result) for draft, result in zip(part, results, strict=True)]
            except (KeyError, TypeError, ValueError):
                raise self._unexpected() from None
        return ends

    def _results(self, body: Sequence[Mapping[str, Any]]) -> Any:
        """One an item, also where every item is bad, which is a 422."""
        try:
            document = self._transport.call("POST", "/v1/notifications", body=body).document
        except Refused as refused:
            if not isinstance(refused.document, dict) or "results" not in refused.document:
                raise
            document = refused.document
        return document.get("results") if isinstance(document, dict) else None

    def get(self, id: str) -> NotificationView:
        """As it stands, with its timeline."""
        return self._read(NotificationView, self._transport.call("GET", _path(id)))

    def page(self, *, cursor: str | None = None, limit: int = 200, **filters: Any) -> Page:
        """Newest first. Filters: status, channel, recipient, since, until. `cursor`: next_cursor of the page before."""
        given = {"cursor": cursor, "limit": limit, **filters}
        query = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in given.items()
            if value is not None
        }
        return self._read(Page, self._transport.call("GET", "/v1/notifications", query=query))

    def list(self, **filters: Any) -> Iterator[NotificationView]:
        """All that match, newest first, fetched page by page. The filters of `page`."""
        cursor = None
        while True:
            page = self.page(cursor=cursor, **filters)
            yield from page.notifications
            if (cursor := page.next_cursor) is None:
                return

    def cancel(self, id: str) -> NotificationView:
        """Canceled, once or twice. Raise Refused 409 if it is claimed or over."""
        return self._read(NotificationView, self._transport.call("POST", f"{_path(id)}/cancel"))

    def close(self) -> None:
        """Give up connections; the next call opens one again."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _end(self, draft: Draft, result: Any) -> Accepted | Refused:
        if "error" in result:
            return Refused.told(int(result["error"]["status"]), result["error"])
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
        return Unexpected(f"what answers at {self._transport.url} is no Tidings, or one of another version")


def _path(id: str) -> str:
    return f"/v1/notifications/{quote(id, safe='')}"


def _quoted(key: str) -> str:
    """The header's quoted string (the IETF draft's form)."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _parts(drafts: Sequence[Draft]) -> Iterator[Sequence[Draft]]:
    """In order, none over the API's limits unless a single draft is."""
    begun, size = 0, 0
    for index, draft in enumerate(drafts):
        weight = len(json.dumps(draft.document()))
        if index > begun and (index - begun == ITEMS or size + weight > BYTES):
            yield drafts[begun:index]
            begun, size = index, 0
        size += weight
    if begun < len(drafts):
        yield drafts[begun:]
