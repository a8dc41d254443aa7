"""When the sweep looks at a row: `wake_at`, the instant at which it should have moved by itself."""

from datetime import timedelta
from typing import Any

from sqlalchemy import case
from sqlalchemy.sql import ColumnElement

from tidings.adapters.sql.schema import notifications

GRACE = timedelta(seconds=5)
"""How long after `wake_at` the sweep waits for a row to move by itself."""

REQUEUE_AFTER = timedelta(seconds=10)
"""How long a queued message may wait before the sweep asks whether it is there at all. Whoever dies between the commit
and the publish leaves a row that waits as long as that."""


def not_after_expiry(at: Any) -> ColumnElement[Any]:
    """This time (a value or a column), or the row's expiry where that comes first."""
    expires_at = notifications.c.expires_at
    return case((expires_at < at, expires_at), else_=at)
