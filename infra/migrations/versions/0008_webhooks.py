"""The endpoints of webhooks.

It only adds, so the version before runs on while it is made. What that version's functions write meanwhile tells no
endpoint: `tidings webhooks replay ID --only missing` sends it afterwards.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0008"
down_revision = "0007"
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
        "webhooks",
        sa.Column("id", ascii_string(36), primary_key=True),
        sa.Column("tenant", ascii_string(64), nullable=False),
        sa.Column("url", sa.String(512), nullable=False),
        sa.Column("events", ascii_string(512), nullable=False),
        sa.Column("with_recipient", sa.Boolean, nullable=False),
        sa.Column("state", ascii_string(16), nullable=False),
        sa.Column("reason", ascii_string(16)),
        sa.Column("created_at", moment(), nullable=False),
        sa.Column("changed_at", moment(), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("previous_until", moment()),
        sa.Column("failing_since", moment()),
        sa.Column("last_success_at", moment()),
        sa.Column("last_failure_at", moment()),
        sa.Column("release_until", moment()),
        sa.Index("ix_webhooks_tenant", "tenant", "id"),
        sa.Index("ix_webhooks_release", "release_until"),
        **ON_MYSQL,
    )


def downgrade() -> None:
    op.drop_table("webhooks")
