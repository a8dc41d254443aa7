"""The first schema: notifications, events, suppressions, and the embedded broker's messages.

It repeats what `tidings.adapters.sql.schema` says today, on purpose: that module moves on, this one stays. A test
holds the two together.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ON_MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def ascii_string(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
    )


def long_text() -> sa.types.TypeEngine[str]:
    return sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")


def moment() -> sa.types.TypeEngine[Any]:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def sequence() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", ascii_string(36), primary_key=True),
        sa.Column("tenant", ascii_string(64), nullable=False),
        sa.Column("channel", ascii_string(32), nullable=False),
        sa.Column("recipient", sa.String(512), nullable=False),
        sa.Column("content", long_text(), nullable=False),
        sa.Column("priority", ascii_string(8), nullable=False),
        sa.Column("on_ambiguous", ascii_string(16), nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("metadata", long_text()),
        sa.Column("send_at", moment()),
        sa.Column("expires_at", moment()),
        sa.Column("traceparent", ascii_string(64)),
        sa.Column("idempotency_hash", ascii_string(64)),
        sa.Column("fingerprint", ascii_string(64)),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("updated_at", moment(), nullable=False),
        sa.Column("status", ascii_string(16), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("spared", sa.Integer, nullable=False),
        sa.Column("next_attempt_at", moment()),
        sa.Column("claimed_at", moment()),
        sa.Column("lease_until", moment()),
        sa.Column("token", ascii_string(32)),
        sa.Column("queued_at", moment()),
        sa.Column("wake_at", moment()),
        sa.Column("provider", ascii_string(32)),
        sa.Column("provider_message_id", sa.String(255)),
        sa.Column("error_class", ascii_string(16)),
        sa.Column("error_code", ascii_string(64)),
        sa.Column("error_message", sa.String(500)),
        sa.Index("ux_notifications_idempotency", "idempotency_hash", unique=True),
        sa.Index("ix_notifications_wake", "wake_at"),
        sa.Index("ix_notifications_tenant", "tenant", "id"),
        sa.Index("ix_notifications_status", "tenant", "status", "id"),
        sa.Index("ix_notifications_channel", "tenant", "channel", "id"),
        sa.Index("ix_notifications_recipient", "tenant", "recipient", "id"),
        **ON_MYSQL,
    )
    op.create_table(
        "events",
        sa.Column("seq", sequence(), primary_key=True, autoincrement=True),
        sa.Column("notification_id", ascii_string(36), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("status", ascii_string(16), nullable=False),
        sa.Column("at", moment(), nullable=False),
        sa.Column("started_at", moment()),
        sa.Column("provider", ascii_string(32)),
        sa.Column("provider_message_id", sa.String(255)),
        sa.Column("error_class", ascii_string(16)),
        sa.Column("error_code", ascii_string(64)),
        sa.Column("error_message", sa.String(500)),
        sa.Column("next_attempt_at", moment()),
        sa.Column("token", ascii_string(32)),
        sa.Column("spared", sa.Integer, nullable=False),
        sa.Index("ix_events_notification", "notification_id", "seq"),
        **ON_MYSQL,
    )
    op.create_table(
        "suppressions",
        sa.Column("tenant", ascii_string(64), primary_key=True),
        sa.Column("channel", ascii_string(32), primary_key=True),
        sa.Column("recipient", sa.String(512), primary_key=True),
        sa.Column("reason", ascii_string(32), nullable=False),
        sa.Column("notification_id", ascii_string(36), nullable=False),
        sa.Column("at", moment(), nullable=False),
        **ON_MYSQL,
    )
    op.create_table(
        "messages",
        sa.Column("seq", sequence(), primary_key=True, autoincrement=True),
        sa.Column("queue", ascii_string(64), nullable=False),
        sa.Column("routing_key", ascii_string(64), nullable=False),
        sa.Column("message_id", ascii_string(128)),
        sa.Column("headers", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb"), nullable=False),
        sa.Column("visible_at", moment(), nullable=False),
        sa.Column("deliveries", sa.Integer, nullable=False),
        sa.Column("holder", ascii_string(32)),
        sa.Index("ix_messages_queue", "queue", "visible_at", "seq"),
        **ON_MYSQL,
    )


def downgrade() -> None:
    for table in ("messages", "suppressions", "events", "notifications"):
        op.drop_table(table)
