"""A message in its three forms: ours, AMQP properties, and the `aws:rmq` event that invokes a function.

A message is a wake-up call without personal data: an id and a channel, and CloudEvents headers (`ce-`), which bridges
keep although they drop `x-` headers.
"""

import base64
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from tidings.domain.errors import InvalidMessage, UnsupportedVersion

VERSION = "1.0"
FAMILY = "dev.tidings.notification.v"
SCHEMA = 1
"""The version that we write, and the latest that we read. docs/upgrades.md says when to raise it."""
TYPE = f"{FAMILY}{SCHEMA}"
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SOURCE = "tidings"
CONTENT_TYPE = "application/json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """Tells a worker: this notification may be due."""

    id: str
    channel: str
    generation: int
    attempt: int = 0  # attempts when it was queued; makes message ids distinct, decides nothing
    traceparent: str | None = None

    @property
    def message_id(self) -> str:
        return f"{self.id}:{self.generation}:{self.attempt}"

    @property
    def body(self) -> bytes:
        return to_json({"id": self.id, "channel": self.channel})

    @property
    def headers(self) -> dict[str, str]:
        headers = {
            "ce-id": self.message_id,
            "ce-source": SOURCE,
            "ce-type": TYPE,
            "ce-specversion": VERSION,
            "ce-generation": str(self.generation),
            "ce-attempt": str(self.attempt),
        }
        if self.traceparent is not None:
            headers["ce-traceparent"] = self.traceparent
        return headers


@dataclass(frozen=True, kw_only=True, slots=True)
class IncomingMessage:
    """One entry of an event: the raw body, and the Message in it or why there is none."""

    queue: str
    body: bytes
    message: Message | None
    unreadable: str | None = None
    channel: str = ""  # of the function that received it
    later: Mapping[str, str] | None = None  # the headers of a newer release's message: it is redelivered unchanged


LONGEST_REASON = 200  # characters: it is sent in a header


def parse(body: bytes, headers: Mapping[str, object], channel: str) -> Message:
    """A message of Tidings for this channel. Unknown headers and keys are ignored, so a newer release may add some.

    Raise InvalidMessage, which says what is wrong, or UnsupportedVersion for a newer release's message."""
    version = _version(headers)
    if version is None:
        raise InvalidMessage(f"ce-type is {headers.get('ce-type')!r}, not {TYPE!r}")
    if version > SCHEMA:
        raise UnsupportedVersion(f"of version {version}; this release reads {SCHEMA}")
    try:
        data = json.loads(body)
        message = Message(
            id=data["id"],
            channel=data["channel"],
            generation=int(str(headers["ce-generation"])),
            attempt=int(str(headers.get("ce-attempt") or "0")),
            traceparent=trace if isinstance(trace := headers.get("ce-traceparent"), str) else None,
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidMessage(f"{type(error).__name__} in body or headers") from error
    # The database could refuse any other id, and with it the whole batch, again and again.
    if not isinstance(message.id, str) or not ID.fullmatch(message.id):
        raise InvalidMessage("id is not a UUID string")
    if message.channel != channel:
        raise InvalidMessage(f"channel is {message.channel!r} in a queue of {channel!r}")
    return message


def _version(headers: Mapping[str, object]) -> int | None:
    found = re.fullmatch(rf"{re.escape(FAMILY)}([1-9][0-9]{{0,5}})", str(headers.get("ce-type")))
    return int(found[1]) if found is not None else None


def is_newer(headers: Mapping[str, object]) -> bool:
    return (_version(headers) or 0) > SCHEMA


def unchanged_headers(headers: Mapping[str, object]) -> dict[str, str]:
    """The headers of a message that is published again unread, without the broker's own."""
    return {
        name: str(value).encode(errors="replace").decode()
        for name, value in headers.items()
        if isinstance(value, str | int | float) and not name.startswith("x-") and name.isascii() and 0 < len(name) < 256
    }


# --- the aws:rmq event ------------------------------------------------------------------------------------------------
# https://docs.aws.amazon.com/lambda/latest/dg/with-mq.html#services-mq-params. String headers arrive as
# {"bytes": [...]}; nested tables are undocumented, and any key may be null or missing.


def to_event(entries: Iterable[tuple[str, bytes, Mapping[str, Any], bool]], *, source_arn: str = "") -> dict[str, Any]:
    """The event for these (queue, body, basicProperties, redelivered)."""
    queues: dict[str, list[dict[str, Any]]] = {}
    for queue, body, properties, redelivered in entries:
        queues.setdefault(f"{queue}::/", []).append(
            {
                "basicProperties": {**properties, "headers": _encoded(properties.get("headers") or {})},
                "redelivered": redelivered,
                "data": base64.b64encode(body).decode(),
            }
        )
    return {"eventSource": "aws:rmq", "eventSourceArn": source_arn, "rmqMessagesByQueue": queues}


def from_event(event: object, channel: str) -> list[IncomingMessage]:
    """Every entry of the event, in order. Raise InvalidMessage if it is not such an event."""
    if not isinstance(event, Mapping) or event.get("eventSource") != "aws:rmq":
        raise InvalidMessage("not an aws:rmq event: eventSource must be 'aws:rmq'")
    queues = event.get("rmqMessagesByQueue")
    if not isinstance(queues, Mapping):
        raise InvalidMessage("not an aws:rmq event: rmqMessagesByQueue must be an object")
    return [
        _incoming(str(name).split("::", 1)[0], entry, channel)
        for name, entries in queues.items()
        for entry in _listed(entries)
    ]


def _listed(entries: object) -> list[Any]:
    if entries is not None and not isinstance(entries, list):
        raise InvalidMessage("not an aws:rmq event: each queue holds a list of messages")
    return entries or []


def _incoming(queue: str, entry: object, channel: str) -> IncomingMessage:
    body, decoded = b"", dict[str, object]()
    try:
        if not isinstance(entry, Mapping):
            raise InvalidMessage("entry is not an object")
        body = base64.b64decode(str(entry.get("data") or ""), validate=True)
        properties = entry.get("basicProperties")
        headers = properties.get("headers") if isinstance(properties, Mapping) else None
        given = headers if isinstance(headers, Mapping) else {}
        decoded = {str(name): _decoded(value) for name, value in given.items()}
        return IncomingMessage(queue=queue, body=body, message=parse(body, decoded, channel), channel=channel)
    except (InvalidMessage, ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, InvalidMessage) else f"{type(error).__name__} in data or headers"
        later = unchanged_headers(decoded) if isinstance(error, UnsupportedVersion) else None
        return IncomingMessage(
            queue=queue, body=body, message=None, unreadable=reason[:LONGEST_REASON], channel=channel, later=later
        )


def _encoded(value: object) -> Any:
    if isinstance(value, str):
        return {"bytes": list(value.encode())}
    if isinstance(value, Mapping):
        return {str(key): _encoded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_encoded(item) for item in value]
    return value if isinstance(value, int | float | bool) or value is None else str(value)


def _decoded(value: object) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"bytes"} and isinstance(value["bytes"], list):
            try:
                return bytes(value["bytes"]).decode(errors="replace")
            except (ValueError, TypeError):
                return None
        return {str(key): _decoded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return value
