"""The hash of each report as it arrived, beside what it says: proofs have it.

It only adds, so the version before runs on while it is made; what that version writes has no hash.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

TABLES = ("events", "receipts")


def upgrade() -> None:
    sha256 = sa.String(64).with_variant(mysql.VARCHAR(64, charset="ascii", collation="ascii_bin"), "mysql", "mariadb")
    for table in TABLES:
        op.add_column(table, sa.Column("raw_sha256", sha256))


def downgrade() -> None:
    for table in TABLES:
        with op.batch_alter_table(table) as changed:
            changed.drop_column("raw_sha256")
