"""Whether a provider refuses us, shared by all workers; and what a provider said when it accepted.

It only adds, so the version before runs on while it is made.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
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
    op.add_column("notifications", sa.Column("refused_at", moment()))
    op.add_column("events", sa.Column("provider_response", sa.String(255)))
    op.create_table(
        "connections",
        sa.Column("name", ascii_string(32), primary_key=True),
        sa.Column("channel", ascii_string(32), nullable=False),
        sa.Column("accepted_at", moment()),
        sa.Column("suspected_at", moment()),
        sa.Column("suspects", ascii_string(64)),
        sa.Column("refusing_at", moment()),
        sa.Column("error_code", ascii_string(64)),
        sa.Column("error_message", sa.String(500)),
        sa.Column("probes", sa.Integer, nullable=False),
        sa.Column("probe_id", ascii_string(36)),
        sa.Column("probe_at", moment()),
        **ON_MYSQL,
    )


def downgrade() -> None:
    op.drop_table("connections")
    for table, column in (("events", "provider_response"), ("notifications", "refused_at")):
        with op.batch_alter_table(table) as changed:
            changed.drop_column(column)
