"""Create hundreds of thousands of rows inside MariaDB, as after weeks of use."""

import time
from collections.abc import Mapping

from local.services.database import connection

AT_ONCE = 10_000  # rows a statement
APART = 10  # milliseconds between two rows' creation
COLUMNS = {
    "tenant": "'local'",
    "channel": "'email'",
    "recipient": "CONCAT('customer-', seq % 100000, '@example.com')",
    "content": 'CONCAT(\'{"subject":"Order \', seq, \'","text":"It has left our house, and is on its way."}\')',
    "priority": "'normal'",
    "on_ambiguous": "'resend'",
    "max_attempts": "10",
    "idempotency_hash": "SHA2(CONCAT('key', seq), 256)",
    "fingerprint": "SHA2(CONCAT('print', seq), 256)",
    "created_at": "UTC_TIMESTAMP(6)",
    "updated_at": "UTC_TIMESTAMP(6)",
    "generation": "1",
    "attempt": "1",
    "spared": "0",
}
"""SQL for each column, where `seq` is the row's number from 1 on."""

SENT = {
    "channel": "ELT(1 + seq % 4, 'email', 'email', 'sms', 'push')",
    "status": "IF(seq % 20 = 0 AND seq <= 10000, 'failed', 'sent')",
    "queued_at": "UTC_TIMESTAMP(6)",
    "provider": "'smtp'",
    "provider_message_id": "CONCAT('<', seq, '@example.com>')",
    "error_class": "IF(seq % 20 = 0 AND seq <= 10000, 'permanent', NULL)",
    "error_code": "IF(seq % 20 = 0 AND seq <= 10000, '550', NULL)",
}
"""What has come to its end. One in twenty of the first ten thousand failed: there are not more dead letters where there
are more rows."""


def fill(url: str, count: int, **columns: str) -> None:
    """Insert so many rows, of which these columns differ. Their ids are in the order of their numbers."""
    made = {"id": _id(count), **COLUMNS, **columns}
    _insert(url, count, f"INSERT INTO notifications ({', '.join(made)}) SELECT {', '.join(made.values())}")


def fill_ended(url: str, count: int, *, days_ago: int = 0, columns: Mapping[str, str] | None = None) -> None:
    """Insert so many that have come to their end, so long ago, each with its event. These columns differ."""
    sent = {**SENT, **(columns or {})}
    id = _id(count, days_ago)  # of both, so it is made once
    at = f"UTC_TIMESTAMP(6) - INTERVAL {days_ago} DAY"
    made = {"id": id, **COLUMNS, **sent, "created_at": at, "updated_at": at}
    _insert(url, count, f"INSERT INTO notifications ({', '.join(made)}) SELECT {', '.join(made.values())}")
    event = {
        "notification_id": id,
        "at": "UTC_TIMESTAMP(6)",
        "started_at": "UTC_TIMESTAMP(6)",
        "token": "MD5(seq DIV 100)",
        **{name: COLUMNS[name] for name in ("generation", "attempt", "spared")},
        **{name: sent[name] for name in ("status", "provider", "provider_message_id", "error_class", "error_code")},
    }
    _insert(url, count, f"INSERT INTO events ({', '.join(event)}) SELECT {', '.join(event.values())}")
    with connection(url) as connected, connected.cursor() as cursor:
        cursor.execute("ANALYZE TABLE notifications, events")


def _id(count: int, days_ago: int = 0) -> str:
    """A UUIDv7, the last of them made so long ago."""
    first = time.time_ns() // 1_000_000 - days_ago * 86_400_000 - count * APART
    at, random = f"LPAD(LOWER(HEX({first} + seq * {APART})), 12, '0')", "MD5(seq)"
    return (
        f"CONCAT(LEFT({at}, 8), '-', RIGHT({at}, 4), '-7', LEFT({random}, 3), '-8', SUBSTR({random}, 4, 3), '-', "
        f"RIGHT({random}, 12))"
    )


def _insert(url: str, count: int, statement: str) -> None:
    with connection(url) as connected, connected.cursor() as cursor:
        for start in range(1, count + 1, AT_ONCE):
            # MariaDB's own table of numbers.
            cursor.execute(f"{statement} FROM seq_{start}_to_{min(start + AT_ONCE - 1, count)}")
