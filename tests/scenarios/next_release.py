"""Make a next release from this one, with one change of each kind.

A migration with a column and a table, and code that writes them; messages of the next version with a new required
field; a new value of `on_ambiguous`; and a retry schedule with one step removed and one added.
"""

from pathlib import Path

from alembic.script import ScriptDirectory

from tests.scenarios.trees import copied, layer, replaced

NEW_WORD = "ask"
"""Of `on_ambiguous`, for SMS."""

MIGRATION = '''
"""The next release's."""

import sqlalchemy as sa
from alembic import op

revision = "{next}"
down_revision = "{head}"


def upgrade() -> None:
    op.add_column("notifications", sa.Column("shard", sa.Integer))
    op.create_table("shards", sa.Column("shard", sa.Integer, primary_key=True))
'''

TABLE = """
shards = Table("shards", metadata, Column("shard", Integer, primary_key=True))

messages = Table(
"""


def next_release(folder: Path) -> Path:
    tree = copied(folder)
    tidings = layer(tree) / "tidings"
    _schema(tree, tidings)
    _messages(tidings)
    replaced(tidings / "domain" / "notification.py", '    HOLD = "hold"', f'    ASK = "{NEW_WORD}"\n    HOLD = "hold"')
    replaced(tidings / "domain" / "timing.py", "    timedelta(seconds=5),\n", "    timedelta(seconds=4),\n")
    return tree


def _schema(tree: Path, tidings: Path) -> None:
    """The new column `shard` and its migration."""
    migrations = tree / "infra" / "migrations"
    head = str(ScriptDirectory(str(migrations)).get_current_head())
    number = f"{int(head) + 1:04}"
    (migrations / "versions" / f"{number}_next.py").write_text(MIGRATION.format(next=number, head=head))
    schema, rows = tidings / "adapters" / "sql" / "schema.py", tidings / "adapters" / "sql" / "claim.py"
    replaced(schema, "    # NULLs are distinct", '    Column("shard", Integer),\n    # NULLs are distinct')
    replaced(schema, "\nmessages = Table(\n", TABLE)
    replaced(
        rows,
        '"generation", "attempt", "uncounted_attempts", ',
        '"generation", "attempt", "uncounted_attempts", "shard", ',
    )
    first_property = "\n    @property\n    def is_for_now"
    field = "    shard: int | None = 7\n"
    replaced(tidings / "domain" / "notification.py", first_property, f"{field}{first_property}")


def _messages(tidings: Path) -> None:
    """Messages name their shard. Those of the previous release do not, and are read all the same."""
    envelope = tidings / "messaging" / "envelope.py"
    replaced(envelope, "SCHEMA = 1\n", "SCHEMA = 2\n")
    last = "    traceparent: str | None = None\n"
    replaced(envelope, last, f"{last}    shard: int = 0\n")
    last = '            "ce-attempt": str(self.attempt),\n'
    replaced(envelope, last, f'{last}            "ce-shard": str(self.shard),\n')
    replaced(
        envelope,
        '            generation=int(str(headers["ce-generation"])),\n',
        '            generation=int(str(headers["ce-generation"])),\n'
        '            shard=int(str(headers["ce-shard"])) if version > 1 else 0,\n',
    )
    replaced(
        tidings / "pipeline" / "outgoing.py",
        "        traceparent=notification.traceparent,\n",
        "        traceparent=notification.traceparent,\n        shard=notification.shard or 0,\n",
    )
