"""Cancel a notification, and resolve one whose outcome is unknown."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from tidings.adapters.sql import timeline
from tidings.adapters.sql.rows import lock, set_columns, timeline_entry
from tidings.domain.notification import CLAIMABLE, OPERATOR, Status
from tidings.domain.receipt import By
from tidings.ports import Changed


def cancel(connection: Connection, now: datetime, tenant: str, id: str) -> Changed | None:
    notification = lock(connection, tenant, id)
    if notification is None:
        return None
    if notification.status not in CLAIMABLE:
        return Changed(notification=notification, by_this_call=False)
    canceled = timeline_entry(notification, Status.CANCELED, now, By.OPERATOR)
    timeline.write_rows(connection, now, [canceled], [notification])
    set_columns(connection, [notification], status=Status.CANCELED, wake_at=None, updated_at=now)
    return Changed(notification=replace(notification, status=Status.CANCELED, updated_at=now), by_this_call=True)


def resolve(connection: Connection, now: datetime, tenant: str, id: str) -> Changed | None:
    """The row keeps the error of its ambiguous attempt: no provider has confirmed that it was sent."""
    notification = lock(connection, tenant, id)
    if notification is None:
        return None
    if notification.status is not Status.UNKNOWN:
        return Changed(notification=notification, by_this_call=False)
    sent: dict[str, Any] = {"status": Status.SENT, "provider": OPERATOR}
    resolved = timeline_entry(notification, Status.SENT, now, By.OPERATOR) | sent
    timeline.write_rows(connection, now, [resolved], [notification])
    set_columns(connection, [notification], **sent, updated_at=now)
    return Changed(notification=replace(notification, **sent, updated_at=now), by_this_call=True)
