"""Facts as log lines: one a notification and event, one record a batch. `catalogue` lists them all."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from tidings.domain.channels import masked
from tidings.domain.connection import Connection
from tidings.domain.errors import NotReady
from tidings.domain.notification import Notification, Status
from tidings.messaging.envelope import Message
from tidings.observability.events import (
    Accepted,
    AccountRefused,
    AccountRestored,
    Canceled,
    Claimed,
    Event,
    Queued,
    Replayed,
    Resolved,
    Settled,
    Swept,
    end_to_end,
    is_ambiguous,
    trace_id,
    waited,
)
from tidings.observability.request_ids import request_id_of
from tidings.ports import Settlement

log = logging.getLogger(__name__)

_NAMES = {
    Status.SENT: "sent",
    Status.RETRYING: "retry_scheduled",
    Status.FAILED: "dead_lettered",
    Status.UNKNOWN: "held_unknown",
    Status.EXPIRED: "expired",
}
_NEEDS_A_PERSON = (Status.FAILED, Status.UNKNOWN)


class LogObserver:
    """Observer. Recipients are masked, and shown only where a person may want to know whom it concerns."""

    def observe(self, fact: Event) -> None:
        match fact:
            case Accepted(notifications=rows):
                _tell("accepted", ({**_one(row), "recipient": masked(row.channel, row.recipient)} for row in rows))
            case Queued(notifications=rows):
                _tell("queued", map(_attempt, rows))
            case Claimed(claims=claims):
                at = claims.at
                _tell(
                    "claimed",
                    ({**_attempt(row), "waited_seconds": _rounded(waited(row, at))} for row in claims.acquired),
                )
                _tell("stale_message_dropped", (_dropped(message) for message in claims.stale))
            case Settled():
                _tell_ends(fact)
            case Canceled(notification=row):
                _tell("canceled", [_attempt(row)])
            case Replayed(notifications=rows):
                _tell("replayed", map(_one, rows))
            case Resolved(notification=row, outcome=outcome):
                _tell("resolved", [{**_one(row), "outcome": outcome}])
            case AccountRefused(connection=connection):
                _tell("account_refused", [_refusal(connection)], logging.ERROR)
            case AccountRestored(connection=connection, at=at):
                since = connection.refusing_at
                lasted = (at - since).total_seconds() if at is not None and since is not None else None
                _tell(
                    "account_restored", [{**_refusal(connection), "refused_seconds": _rounded(lasted)}], logging.WARNING
                )
            case Swept(counts=counts, lost=lost) if any(counts.values()):
                _tell("swept", [{**counts, "lost": lost}])
            case _:
                pass  # a request's answer is nobody's notification, a sweep without a find no event

    def flush(self) -> None:
        """Each line is written at once."""


def _tell(name: str, each: Iterable[Mapping[str, Any]], level: int = logging.INFO) -> None:
    if log.isEnabledFor(level) and (entries := [*each]):
        log.log(level, name, extra={"each": entries})


def _tell_ends(fact: Settled) -> None:
    """A line for each, one record for all that are alike."""
    late = {settlement.notification.id for settlement in fact.lost}
    alike: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for settlement in fact.settlements:
        said = _end(settlement)
        name, level = _NAMES[settlement.status], logging.INFO
        if is_ambiguous(settlement):
            _tell("ambiguous", [{**said, "on_ambiguous": settlement.notification.on_ambiguous}], logging.WARNING)
        if isinstance(settlement.error, NotReady):
            level = logging.ERROR
        if settlement.notification.id in late:
            name, said["status"] = "settled_late", settlement.status
        elif settlement.status is Status.SENT:
            said["end_to_end_seconds"] = _rounded(end_to_end(settlement))
        elif settlement.status in _NEEDS_A_PERSON:
            said["recipient"] = masked(settlement.notification.channel, settlement.notification.recipient)
        if settlement.delay is not None:
            said["retry_in_seconds"] = round(settlement.delay.total_seconds(), 1)
        alike.setdefault((level, name), []).append(said)
    for (level, name), each in alike.items():
        _tell(name, each, level)


def _one(row: Notification) -> dict[str, Any]:
    return {
        "notification_id": row.id,
        "tenant": row.tenant,
        "channel": row.channel,
        "generation": row.generation,
        "trace_id": trace_id(row.traceparent),
        "request_id": request_id_of(row.id),
    }


def _dropped(message: Message) -> dict[str, Any]:
    return {
        "notification_id": message.id,
        "channel": message.channel,
        "generation": message.generation,
        "trace_id": trace_id(message.traceparent),
    }


def _attempt(row: Notification) -> dict[str, Any]:
    return {**_one(row), "attempt": row.attempt}


def _end(settlement: Settlement) -> dict[str, Any]:
    error, elapsed = settlement.error, settlement.elapsed
    return {
        **_attempt(settlement.notification),
        "provider": settlement.provider,
        "duration_seconds": _rounded(elapsed.seconds) if elapsed is not None else None,
        "error_class": error.kind if error is not None else None,
        "code": error.code if error is not None else None,
    }


def _refusal(connection: Connection) -> dict[str, Any]:
    return {
        "channel": connection.channel,
        "provider": connection.name,
        "code": connection.error_code,
        "error": connection.error_message,
    }


def _rounded(seconds: float | None) -> float | None:
    """To the tenth of a millisecond."""
    return round(seconds, 4) if seconds is not None else None
