"""The retention finds the suppressions that are old.

It only adds, so the version before runs on while it is made.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_suppressions_at", "suppressions", ["at"])


def downgrade() -> None:
    op.drop_index("ix_suppressions_at", "suppressions")
