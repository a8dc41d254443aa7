"""Receipts suppress: what a receipt says of its recipient is kept with it, until it can be applied.

It only adds, so the version before runs on while it is made.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0009"
down_revision = "0006"
branch_labels = None
depends_on = None

SUPPRESS = sa.String(32).with_variant(mysql.VARCHAR(32, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")


def upgrade() -> None:
    op.add_column("receipts", sa.Column("suppress", SUPPRESS))
    op.add_column("receipts", sa.Column("recipient", sa.String(512)))
    op.create_index("ix_receipts_recipient", "receipts", ["recipient", "at"])


def downgrade() -> None:
    op.drop_index("ix_receipts_recipient", "receipts")
    with op.batch_alter_table("receipts") as changed:
        changed.drop_column("recipient")
        changed.drop_column("suppress")
