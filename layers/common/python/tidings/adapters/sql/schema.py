"""The tables, as the queries use them. `infra/migrations` creates them.

A row of `notifications` is a notification, and a row of `events` a change of its status. `suppression_list`
holds recipients that are not sent to, `receipts` what providers reported later, `statistics` counts by the minute.
Every query has its index here.
"""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, kept in UTC with microseconds."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime]:
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


def ascii_string(length: int) -> TypeEngine[str]:
    """Ids, hashes and codes: compared byte by byte, one byte a character in every index."""
    return String(length).with_variant(
        mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
    )


def long_text() -> TypeEngine[str]:
    return Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


ON_MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}

metadata = MetaData()

notifications = Table(
    "notifications",
    metadata,
    Column("id", ascii_string(36), primary_key=True),
    Column("tenant", ascii_string(64), nullable=False),
    Column("channel", ascii_string(32), nullable=False),
    Column("recipient", String(512), nullable=False),
    Column("content", long_text(), nullable=False),
    Column("priority", ascii_string(8), nullable=False),
    Column("on_ambiguous", ascii_string(16), nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("metadata", long_text()),
    Column("ignore_suppression", Boolean),
    Column("category", ascii_string(32)),
    Column("critical", Boolean),
    Column("send_at", UtcDateTime),
    Column("expires_at", UtcDateTime),
    Column("traceparent", ascii_string(64)),
    Column("idempotency_hash", ascii_string(64)),
    Column("fingerprint", ascii_string(64)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("status", ascii_string(16), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("spared", Integer, nullable=False, key="uncounted_attempts"),
    Column("next_attempt_at", UtcDateTime),
    Column("claimed_at", UtcDateTime),
    Column("lease_until", UtcDateTime),
    Column("token", ascii_string(32)),
    Column("refused_at", UtcDateTime),
    Column("queued_at", UtcDateTime),
    # When the row should have moved by itself: the sweep looks at rows past this time. NULL: its status is terminal.
    Column("wake_at", UtcDateTime),
    Column("provider", ascii_string(32)),
    Column("provider_message_id", String(255)),
    Column("error_class", ascii_string(16)),
    Column("error_code", ascii_string(64)),
    Column("error_message", String(500)),
    Column("receipt", ascii_string(16)),  # missing: its provider did not report in time
    # NULLs are distinct: only rows with a key take part.
    Index("ux_notifications_idempotency", "idempotency_hash", unique=True),
    Index("ix_notifications_wake", "wake_at"),
    Index("ix_notifications_tenant", "tenant", "id"),
    Index("ix_notifications_status", "tenant", "status", "id"),
    Index("ix_notifications_channel", "tenant", "channel", "id"),
    Index("ix_notifications_recipient", "tenant", "recipient", "id"),
    Index("ix_notifications_provider_message", "provider_message_id"),
    **ON_MYSQL,
)

events = Table(
    "events",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("notification_id", ascii_string(36), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("status", ascii_string(16), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("started_at", UtcDateTime),
    Column("provider", ascii_string(32)),
    Column("provider_message_id", String(255)),
    Column("provider_response", String(255)),
    Column("error_class", ascii_string(16)),
    Column("error_code", ascii_string(64)),
    Column("error_message", String(500)),
    Column("next_attempt_at", UtcDateTime),
    Column("note", String(500)),  # what suppression did to this attempt, or would have done
    Column("token", ascii_string(32)),  # of the claim that it ended, or of the receipts that moved the row; NULL: none
    Column("spared", Integer, nullable=False, key="uncounted"),  # 1: the attempt does not count
    Column("by", ascii_string(16)),  # who says so: provider, receipt, lookup, operator, sweep
    Column("raw_sha256", ascii_string(64)),  # of the receipt that says so, as it arrived, in hexadecimal
    Index("ix_events_notification", "notification_id", "seq"),
    **ON_MYSQL,
)

suppression_list = Table(
    "suppression_list",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("tenant", ascii_string(64), nullable=False),
    Column("channel", ascii_string(32), nullable=False),
    Column("recipient", String(512), nullable=False),  # Content.matched
    Column("scope", ascii_string(32), nullable=False),  # '': everything on the channel; else a category
    Column("reason", ascii_string(32), nullable=False),
    Column("source", ascii_string(16), nullable=False),  # provider, operator, receipt, import, unsubscribe
    Column("note", String(255)),
    Column("notification_id", ascii_string(36)),
    Column("at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),  # NULL: in force until it is removed. Removed: when
    Column("removed_at", UtcDateTime),
    Column("removed_by", ascii_string(80)),
    # The recipient first: a claim has many recipients, a few tenants and one channel.
    Index("ux_suppression_list", "recipient", "channel", "tenant", "scope", unique=True),
    Index("ix_suppression_list_tenant", "tenant", "seq"),
    Index("ix_suppression_list_expires", "expires_at"),
    **ON_MYSQL,
)

suppressions = Table(
    "suppressions",  # what releases before 0006 write; the sweep moves it to suppression_list
    metadata,
    Column("tenant", ascii_string(64), primary_key=True),
    Column("channel", ascii_string(32), primary_key=True),
    Column("recipient", String(512), primary_key=True),
    Column("reason", ascii_string(32), nullable=False),  # token_dead, opted_out, mailbox_unknown
    Column("notification_id", ascii_string(36), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("ix_suppressions_at", "at"),
    **ON_MYSQL,
)

receipts = Table(
    "receipts",  # what providers reported in the last days: for duplicates, and to be tried again
    metadata,
    Column("provider", ascii_string(32), primary_key=True),
    Column("event_id", ascii_string(128), primary_key=True),
    Column("connection", ascii_string(32), nullable=False),
    Column("kind", ascii_string(16), nullable=False),
    Column("notification_id", ascii_string(36)),
    Column("generation", Integer),
    Column("attempt", Integer),
    Column("provider_message_id", String(255)),
    Column("code", ascii_string(64)),
    Column("message", String(500)),
    Column("at", UtcDateTime, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("retry_at", UtcDateTime),  # when the sweep looks at it again; NULL: it is done
    Column("result", ascii_string(16)),  # of one that was applied with a settlement; the sweep tells the observers
    Column("doubled", Integer),  # 1: it showed a second acceptance
    Column("suppress", ascii_string(32)),  # of a failure: why its recipient can take nothing more
    Column("by", ascii_string(16)),  # lookup: an answer to our question; NULL: reported
    Column("recipient", String(512)),  # of a report about a recipient, a STOP or START, instead of a message
    Column("raw_sha256", ascii_string(64)),
    Index("ix_receipts_notification", "notification_id"),
    Index("ix_receipts_retry", "retry_at"),
    Index("ix_receipts_received", "received_at"),
    Index("ix_receipts_recipient", "recipient", "at"),
    **ON_MYSQL,
)

awaited_receipts = Table(
    "awaited_receipts",  # sent, and the provider was asked to report
    metadata,
    Column("notification_id", ascii_string(36), primary_key=True),
    Column("due_at", UtcDateTime, nullable=False),  # when to ask the provider, if it has not reported
    Column("tries", Integer, nullable=False),
    Index("ix_awaited_receipts_due", "due_at"),
    **ON_MYSQL,
)

returned_mails = Table(
    "returned_mails",  # mails that came back and are not understood, or have no valid return path: for a person to read
    metadata,
    Column("id", ascii_string(64), primary_key=True),  # the SHA-256 of its content: a copy is the same row
    Column("received_at", UtcDateTime, nullable=False),
    Column("verdict", ascii_string(16), nullable=False),  # no_mark, unreadable
    Column("content", LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb"), nullable=False),
    Index("ix_returned_mails_received", "received_at"),
    **ON_MYSQL,
)

statistics = Table(
    "statistics",
    metadata,
    Column("tenant", ascii_string(64), primary_key=True),
    Column("minute", UtcDateTime, primary_key=True),
    Column("channel", ascii_string(32), primary_key=True),
    Column("what", ascii_string(32), primary_key=True),  # accepted, a status, or a bucket of latencies
    Column("count", BigInteger, nullable=False),
    Index("ix_statistics_minute", "minute"),
    **ON_MYSQL,
)

watermark = Table(
    "watermark",  # one row: up to where `statistics` has counted
    metadata,
    Column("name", ascii_string(32), primary_key=True),
    Column("notification_id", ascii_string(36), nullable=False),
    Column("seq", BigInteger, nullable=False),  # of events
    **ON_MYSQL,
)

pauses = Table(
    "pauses",  # the paused channels
    metadata,
    Column("channel", ascii_string(32), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    **ON_MYSQL,
)

connections = Table(
    "connections",  # our account at a provider, if it refuses or has refused us
    metadata,
    Column("name", ascii_string(32), primary_key=True),  # of the provider
    Column("channel", ascii_string(32), nullable=False),
    Column("accepted_at", UtcDateTime),  # when it last accepted anything, to the second
    Column("suspected_at", UtcDateTime),  # the first refusal since
    Column("suspects", ascii_string(64)),  # hashes of the recipients refused since, up to a limit
    Column("refusing_at", UtcDateTime),  # since when it refuses us; NULL: it does not
    Column("error_code", ascii_string(64)),
    Column("error_message", String(500)),
    Column("probes", Integer, nullable=False),  # since refusing_at
    Column("probe_id", ascii_string(36)),  # the current or last probe's notification
    Column("probe_at", UtcDateTime),  # when the next probe may be sent
    **ON_MYSQL,
)

webhooks = Table(
    "webhooks",  # the endpoints
    metadata,
    Column("id", ascii_string(36), primary_key=True),
    Column("tenant", ascii_string(64), nullable=False),
    Column("url", String(512), nullable=False),
    Column("events", ascii_string(512), nullable=False),  # separated by spaces; '': it is told none
    Column("with_recipient", Boolean, nullable=False),
    Column("state", ascii_string(16), nullable=False),
    Column("reason", ascii_string(16)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("version", Integer, nullable=False),
    Column("previous_until", UtcDateTime),
    Column("failing_since", UtcDateTime),
    Column("last_success_at", UtcDateTime),
    Column("last_failure_at", UtcDateTime),
    Column("release_until", UtcDateTime),  # until then the sweep releases or cancels what is held; NULL: nothing to do
    Index("ix_webhooks_tenant", "tenant", "id"),
    Index("ix_webhooks_release", "release_until"),
    **ON_MYSQL,
)

messages = Table(
    "messages",  # the embedded broker's queues
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("queue", ascii_string(64), nullable=False),
    Column("routing_key", ascii_string(64), nullable=False),
    Column("message_id", ascii_string(128)),
    Column("headers", Text, nullable=False),
    Column("body", LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb"), nullable=False),
    Column("visible_at", UtcDateTime, nullable=False),
    Column("deliveries", Integer, nullable=False),
    Column("holder", ascii_string(32)),  # the consumer that has it until visible_at
    Index("ix_messages_queue", "queue", "visible_at", "seq"),
    **ON_MYSQL,
)
