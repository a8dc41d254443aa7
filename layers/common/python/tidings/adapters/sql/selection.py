"""Which rows a Selection names, as conditions of a statement."""

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, literal, or_, select

from tidings.adapters.sql.schema import events, notifications
from tidings.domain.errors import AmbiguousError, PermanentError, TransientError
from tidings.domain.notification import first_id
from tidings.domain.receipt import By
from tidings.domain.webhook import CHANNEL
from tidings.ports import Selection

n = notifications.c


def narrowed(statement: Select[Any], selection: Selection, now: datetime | None = None) -> Select[Any]:
    """Add the selection's conditions. Times become bounds of the id, which starts with the millisecond of creation, so
    that the indexes on the id serve them. MySQL and MariaDB are told which index to use: left alone, they walk back
    through all newer rows in the hope of finding a few matches soon."""
    conditions = [
        n.tenant == selection.tenant,
        n.id.in_(sorted(selection.ids)) if selection.ids is not None else None,
        n.status.in_(selection.statuses) if selection.statuses is not None else None,
        n.channel == selection.channel if selection.channel is not None else None,
        n.recipient == selection.recipient if selection.recipient is not None else None,
        n.provider_message_id.in_(sorted(selection.provider_message_ids))
        if selection.provider_message_ids is not None
        else None,
        n.error_class == selection.error_class if selection.error_class is not None else None,
        n.error_code == selection.error_code if selection.error_code is not None else None,
        n.id >= first_id(selection.since) if selection.since is not None else None,
        n.id < first_id(selection.until) if selection.until is not None else None,
        n.id < selection.before_id if selection.before_id is not None else None,
        n.id > selection.after_id if selection.after_id is not None else None,
    ]
    if now is not None and selection.lasts is not None:
        conditions.append(or_(n.expires_at.is_(None), n.expires_at > now + selection.lasts))
    if now is not None and selection.expires_within is not None:
        conditions.append(n.expires_at <= now + selection.expires_within)
    if selection.channel is None and selection.recipient is None and selection.ids is None:
        # A webhook to an endpoint is found by its channel only: a list would have several for each notification.
        conditions.append(or_(n.channel != CHANNEL, n.recipient.like("http%")))
    statement = statement.where(*[condition for condition in conditions if condition is not None])
    index = _index(selection)
    for dialect in ("mysql", "mariadb") if index is not None else ():
        statement = statement.with_hint(notifications, f"FORCE INDEX ({index})", dialect)
    return statement


def by_tenant(statement: Select[Any]) -> Select[Any]:
    """For a range of a tenant's ids. Left alone, MySQL and MariaDB may read the rows of all tenants in between."""
    for dialect in ("mysql", "mariadb"):
        statement = statement.with_hint(notifications, "FORCE INDEX (ix_notifications_tenant)", dialect)
    return statement


def _index(selection: Selection) -> str | None:
    """The most selective index that gives the rows in the order of their ids. None: let the server choose."""
    if selection.ids is not None:
        return None
    if selection.provider_message_ids is not None:
        return "ix_notifications_provider_message"
    if selection.recipient is not None:
        return "ix_notifications_recipient"
    if selection.statuses is not None and len(selection.statuses) == 1:
        return "ix_notifications_status"
    if selection.channel is not None:
        return "ix_notifications_channel"
    return "ix_notifications_tenant" if selection.statuses is None else None


def is_doubtful(row: Any) -> ColumnElement[bool]:
    """Whether a provider may have accepted it: an attempt, in any generation, was ambiguous, and no report has proven
    that it failed (`open_attempts`). `row`: the columns.

    The attempts are looked up only where there were some. The LIMIT makes MariaDB run the subquery row by row;
    without it, MariaDB reads all events first."""
    e, later = events.c, events.alias("later").c
    same = later.notification_id == e.notification_id, later.generation == e.generation, later.attempt == e.attempt
    reported = later.by.in_([By.RECEIPT, By.LOOKUP]), later.started_at.is_(None)
    failed = later.seq > e.seq, later.error_class.in_([PermanentError.kind, TransientError.kind])
    opened = (
        select(literal(1))
        .where(e.notification_id == row.id, e.error_class == AmbiguousError.kind)
        .where(~exists().where(*same, *reported, *failed))
        .limit(1)
        .scalar_subquery()
    )
    return and_(or_(row.error_class == AmbiguousError.kind, row.attempt > 1, row.generation > 1), opened == 1)
