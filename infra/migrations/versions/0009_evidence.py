"""Receipts suppress, and what no provider reports is asked for.

It only adds, so the version before runs on while it is made.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ON_MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def ascii_string(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
    )


def upgrade() -> None:
    op.add_column("notifications", sa.Column("receipt", ascii_string(16)))
    op.create_table(
        "awaited_receipts",
        sa.Column("notification_id", ascii_string(36), primary_key=True),
        sa.Column("due_at", sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb"), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Index("ix_awaited_receipts_due", "due_at"),
        **ON_MYSQL,
    )
    op.add_column("receipts", sa.Column("suppress", ascii_string(32)))
    op.add_column("receipts", sa.Column("by", ascii_string(16)))
    op.add_column("receipts", sa.Column("recipient", sa.String(512)))
    op.create_index("ix_receipts_recipient", "receipts", ["recipient", "at"])


def downgrade() -> None:
    op.drop_index("ix_receipts_recipient", "receipts")
    with op.batch_alter_table("receipts") as changed:
        for column in ("recipient", "by", "suppress"):
            changed.drop_column(column)
    op.drop_table("awaited_receipts")
    with op.batch_alter_table("notifications") as changed:
        changed.drop_column("receipt")
