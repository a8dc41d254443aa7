"""Suppression is enforced: a list of its own, and what it did to an attempt in the timeline.

It only adds, so the version before runs on while it is made. That version goes on writing to `suppressions`, whose key
has no scope, and its retention deletes there what lasts until it is removed. So the list is a table of its own, and the
sweep of this version moves to it what the other has written.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ON_MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def ascii_string(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
    )


def moment() -> sa.types.TypeEngine[Any]:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def sequence() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.add_column("notifications", sa.Column("ignore_suppression", sa.Boolean))
    op.add_column("events", sa.Column("note", sa.String(500)))
    op.create_table(
        "suppression_list",
        sa.Column("seq", sequence(), primary_key=True, autoincrement=True),
        sa.Column("tenant", ascii_string(64), nullable=False),
        sa.Column("channel", ascii_string(32), nullable=False),
        sa.Column("recipient", sa.String(512), nullable=False),
        sa.Column("scope", ascii_string(32), nullable=False),
        sa.Column("reason", ascii_string(32), nullable=False),
        sa.Column("source", ascii_string(16), nullable=False),
        sa.Column("note", sa.String(255)),
        sa.Column("notification_id", ascii_string(36)),
        sa.Column("at", moment(), nullable=False),
        sa.Column("expires_at", moment()),
        sa.Column("removed_at", moment()),
        sa.Column("removed_by", ascii_string(80)),
        sa.Index("ux_suppression_list", "recipient", "channel", "tenant", "scope", unique=True),
        sa.Index("ix_suppression_list_tenant", "tenant", "seq"),
        sa.Index("ix_suppression_list_expires", "expires_at"),
        **ON_MYSQL,
    )


def downgrade() -> None:
    op.drop_table("suppression_list")
    for table, column in (("events", "note"), ("notifications", "ignore_suppression")):
        with op.batch_alter_table(table) as changed:
            changed.drop_column(column)
