"""What operators look at and decide: counts by the minute, and the channels that are paused.

It only adds tables, so the version before runs on while it is made. What happened before it is not counted.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ON_MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def ascii_string(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
    )


def moment() -> sa.types.TypeEngine[Any]:
    return sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    op.create_table(
        "statistics",
        sa.Column("tenant", ascii_string(64), primary_key=True),
        sa.Column("minute", moment(), primary_key=True),
        sa.Column("channel", ascii_string(32), primary_key=True),
        sa.Column("what", ascii_string(32), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Index("ix_statistics_minute", "minute"),
        **ON_MYSQL,
    )
    op.create_table(
        "watermark",
        sa.Column("name", ascii_string(32), primary_key=True),
        sa.Column("notification_id", ascii_string(36), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        **ON_MYSQL,
    )
    op.execute(
        "REPLACE INTO watermark (name, notification_id, seq) SELECT 'statistics',"
        " COALESCE((SELECT MAX(id) FROM notifications), ''), COALESCE((SELECT MAX(seq) FROM events), 0)"
    )
    op.create_table(
        "pauses",
        sa.Column("channel", ascii_string(32), primary_key=True),
        sa.Column("at", moment(), nullable=False),
        **ON_MYSQL,
    )


def downgrade() -> None:
    for table in ("pauses", "watermark", "statistics"):
        op.drop_table(table)
