"""Our messages as CloudEvents over HTTP, in each mode: Knative's sources, for example, POST them instead of an
`aws:rmq` event.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md. A message's headers are a
CloudEvent's attributes already, so a CloudEvents bridge passes the message on unchanged.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from tidings.domain.errors import InvalidMessage
from tidings.domain.notification import Priority
from tidings.messaging import topology
from tidings.messaging.envelope import IncomingMessage, from_event, to_event

STRUCTURED, BATCHED = "application/cloudevents+json", "application/cloudevents-batch+json"
LONGEST = 1024 * 1024
"""Bytes read of a request. Our events have less than a thousand."""


def is_cloudevent(headers: Mapping[str, str]) -> bool:
    """By the headers alone: binary mode has the attributes there, the other modes a content type."""
    return "ce-specversion" in _lower(headers) or _content_type(headers) in (STRUCTURED, BATCHED)


def from_request(headers: Mapping[str, str], body: bytes, channel: str) -> list[IncomingMessage]:
    """The messages of a request that `is_cloudevent`, in order: one, or all of a batch. An event that is not a message
    of Tidings becomes an unreadable message. Raise InvalidMessage if the body is not what its content type says.

    A bridge does not say from which of the channel's queues a message came, so all count as normal priority.
    """
    kind = _content_type(headers)
    if kind == BATCHED:
        entries = [_structured(event) for event in _listed(_parsed(body))]
    elif kind == STRUCTURED:
        entries = [_structured(_parsed(body))]
    else:
        attributes = {name: value for name, value in _lower(headers).items() if name.startswith("ce-")}
        entries = [(attributes, body)]
    queue = topology.work_queue(channel, Priority.NORMAL)
    return from_event(to_event((queue, data, {"headers": given}, False) for given, data in entries), channel)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _content_type(headers: Mapping[str, str]) -> str:
    return _lower(headers).get("content-type", "").partition(";")[0].strip().lower()


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidMessage("not a CloudEvent: the body is not JSON") from None


def _listed(events: object) -> list[Any]:
    if not isinstance(events, list):
        raise InvalidMessage("not a batch of CloudEvents: the body is not an array")
    return events


def _structured(event: object) -> tuple[dict[str, str], bytes]:
    """Attributes, named as in a message, and data."""
    if not isinstance(event, dict):
        return {}, b""
    attributes = {f"ce-{name}": str(value) for name, value in event.items() if not name.startswith("data")}
    if "data_base64" in event:
        try:
            return attributes, base64.b64decode(str(event["data_base64"]), validate=True)
        except ValueError:
            return attributes, b""
    return attributes, json.dumps(event.get("data")).encode()
