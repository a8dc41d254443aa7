"""Events as log lines: one line per notification and event, one log record per batch. `log_catalog` lists them."""

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
    MailsReturned,
    Queued,
    ReceiptsRecorded,
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
from tidings.ports.receipts import WITH_ENTRY, Applied, Result

log = logging.getLogger(__name__)

_NAMES = {
    Status.SENT: "sent",
    Status.RETRYING: "retry_scheduled",
    Status.FAILED: "dead_lettered",
    Status.UNKNOWN: "held_unknown",
    Status.EXPIRED: "expired",
    Status.SUPPRESSED: "suppressed",
}
_NEEDS_A_PERSON = (Status.FAILED, Status.UNKNOWN)


class LogObserver:
    """Observer. Recipients are masked, and logged only where a person may need them."""

    def observe(self, event: Event) -> None:
        match event:
            case Accepted(notifications=rows):
                _log(
                    "accepted",
                    ({**_notification(row), "recipient": masked(row.channel, row.recipient)} for row in rows),
                )
            case Queued(notifications=rows):
                _log("queued", map(_attempt, rows))
            case Claimed(claims=claims):
                at = claims.at
                _log(
                    "claimed",
                    ({**_attempt(row), "waited_seconds": _rounded(waited(row, at))} for row in claims.acquired),
                )
                _log("stale_message_dropped", (_dropped(message) for message in claims.stale))
            case Settled():
                _log_settled(event)
            case Canceled(notification=row):
                _log("canceled", [_attempt(row)])
            case Replayed(notifications=rows):
                _log("replayed", map(_notification, rows))
            case Resolved(notification=row, outcome=outcome):
                _log("resolved", [{**_notification(row), "outcome": outcome}])
            case ReceiptsRecorded(receipts=applied):
                _log("receipt_recorded", (_receipt(item) for item in applied if item.consequence.result in WITH_ENTRY))
                _log("doubled", (_receipt(item) for item in applied if item.consequence.doubled), logging.WARNING)
                dropped = (_receipt(item) for item in applied if item.consequence.result is Result.DROPPED)
                _log("receipt_dropped", dropped, logging.WARNING)
            case AccountRefused() | AccountRestored():
                _log_account(event)
            case MailsReturned(counts=counts):
                _log("mails_returned", _returned(counts))
            case Swept(counts=counts, lost=lost) if any(counts.values()):
                _log("swept", [{**counts, "lost": lost}])
            case _:
                pass  # not logged: answers, and sweeps that found nothing

    def flush(self) -> None:
        """Nothing is buffered."""


def _log(name: str, lines: Iterable[Mapping[str, Any]], level: int = logging.INFO) -> None:
    if log.isEnabledFor(level) and (each := [*lines]):
        log.log(level, name, extra={"each": each})


def _log_account(event: AccountRefused | AccountRestored) -> None:
    if isinstance(event, AccountRefused):
        _log("account_refused", [_refusal(event.connection)], logging.ERROR)
        return
    at, since = event.at, event.connection.refusing_at
    lasted = (at - since).total_seconds() if at is not None and since is not None else None
    _log("account_restored", [{**_refusal(event.connection), "refused_seconds": _rounded(lasted)}], logging.WARNING)


def _returned(counts: Mapping[tuple[str, str], int]) -> Iterable[Mapping[str, Any]]:
    return ({"verdict": verdict, "sort": sort, "mails": count} for (verdict, sort), count in counts.items() if count)


def _log_settled(event: Settled) -> None:
    """One line per settlement, one record for all of the same level and name."""
    late = {settlement.notification.id for settlement in event.lost}
    by_name: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for settlement in event.settlements:
        fields = _settlement(settlement)
        name, level = _NAMES[settlement.status], logging.INFO
        if is_ambiguous(settlement):
            _log("ambiguous", [{**fields, "on_ambiguous": settlement.notification.on_ambiguous}], logging.WARNING)
        if isinstance(settlement.error, NotReady):
            level = logging.ERROR
        if settlement.notification.id in late:
            name, fields["status"] = "settled_late", settlement.status
        elif settlement.status is Status.SENT:
            fields["end_to_end_seconds"] = _rounded(end_to_end(settlement))
        elif settlement.status in _NEEDS_A_PERSON:
            fields["recipient"] = masked(settlement.notification.channel, settlement.notification.recipient)
        if settlement.delay is not None:
            fields["retry_in_seconds"] = round(settlement.delay.total_seconds(), 1)
        by_name.setdefault((level, name), []).append(fields)
    for (level, name), lines in by_name.items():
        _log(name, lines, level)


def _notification(row: Notification) -> dict[str, Any]:
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
    return {**_notification(row), "attempt": row.attempt}


def _settlement(settlement: Settlement) -> dict[str, Any]:
    error, elapsed = settlement.error, settlement.elapsed
    return {
        **_attempt(settlement.notification),
        "provider": settlement.provider,
        "by": settlement.by,
        "duration_seconds": _rounded(elapsed.seconds) if elapsed is not None else None,
        "error_class": error.kind if error is not None else None,
        "code": error.code if error is not None else None,
    }


def _receipt(item: Applied) -> dict[str, Any]:
    """A receipt that was applied with a settlement has no row here: the sweep tells of it later."""
    receipt, row = item.receipt, item.notification
    about = _notification(row) if row is not None else {"notification_id": receipt.notification_id}
    return {
        **about,
        "attempt": receipt.attempt,
        "provider": receipt.provider,
        "receipt": receipt.kind,
        "code": receipt.code,
        "status": row.status if row is not None else None,
        "result": item.consequence.result,
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
