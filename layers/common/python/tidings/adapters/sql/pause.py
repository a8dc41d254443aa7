"""Pause and resume a channel."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, delete, select

from tidings.adapters.sql.rows import insert_if_missing
from tidings.adapters.sql.schema import pauses


def paused(connection: Connection) -> Mapping[str, datetime]:
    return {row.channel: row.at for row in connection.execute(select(pauses))}


def pause(connection: Connection, now: datetime, channel: str) -> None:
    insert_if_missing(connection, pauses, {"channel": channel, "at": now})


def resume(connection: Connection, _now: datetime, channel: str) -> None:
    connection.execute(delete(pauses).where(pauses.c.channel == channel))
