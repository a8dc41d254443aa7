"""`wake_at`: when a row should have moved by itself. The sweep looks at rows past it."""

from typing import Any

from sqlalchemy import case
from sqlalchemy.sql import ColumnElement

from tidings.adapters.sql.schema import notifications


def not_after_expiry(at: Any) -> ColumnElement[Any]:
    """This time (a value or a column), or the row's expiry if that is earlier."""
    expires_at = notifications.c.expires_at
    return case((expires_at < at, expires_at), else_=at)
