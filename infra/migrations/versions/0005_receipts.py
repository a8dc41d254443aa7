"""Receipts: what providers report later, and who says what a timeline tells.

It only adds, so the version before runs on while it is made.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ON_MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
INDEXES = (("notification", "notification_id"), ("retry", "retry_at"), ("received", "received_at"))


def ascii_string(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
    )


def moment() -> sa.types.TypeEngine[Any]:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    op.create_index("ix_notifications_provider_message", "notifications", ["provider_message_id"])
    op.add_column("events", sa.Column("by", ascii_string(16)))
    op.create_table(
        "receipts",
        sa.Column("provider", ascii_string(32), primary_key=True),
        sa.Column("event_id", ascii_string(128), primary_key=True),
        sa.Column("connection", ascii_string(32), nullable=False),
        sa.Column("kind", ascii_string(16), nullable=False),
        sa.Column("notification_id", ascii_string(36)),
        sa.Column("generation", sa.Integer),
        sa.Column("attempt", sa.Integer),
        sa.Column("provider_message_id", sa.String(255)),
        sa.Column("code", ascii_string(64)),
        sa.Column("message", sa.String(500)),
        sa.Column("at", moment(), nullable=False),
        sa.Column("received_at", moment(), nullable=False),
        sa.Column("retry_at", moment()),
        sa.Column("result", ascii_string(16)),
        sa.Column("doubled", sa.Integer),
        **ON_MYSQL,
    )
    for name, column in INDEXES:
        op.create_index(f"ix_receipts_{name}", "receipts", [column])


def downgrade() -> None:
    op.drop_table("receipts")
    with op.batch_alter_table("events") as changed:
        changed.drop_column("by")
    op.drop_index("ix_notifications_provider_message", "notifications")
