"""Categories: what a notification is about, and whether it passes opt-outs of that.

It only adds, so the version before runs on while it is made. The list of suppressions has its scope since 0006.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def ascii_string(length: int) -> sa.types.TypeEngine[str]:
    return sa.String(length).with_variant(
        mysql.VARCHAR(length, charset="ascii", collation="ascii_bin"), "mysql", "mariadb"
    )


def upgrade() -> None:
    op.add_column("notifications", sa.Column("category", ascii_string(32)))
    op.add_column("notifications", sa.Column("critical", sa.Boolean))


def downgrade() -> None:
    with op.batch_alter_table("notifications") as changed:
        changed.drop_column("critical")
        changed.drop_column("category")
