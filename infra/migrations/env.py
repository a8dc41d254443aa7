"""Alembic's entry: run by `python -m tidings.migrate`, which hands over an open connection."""

from alembic import context
from tidings.adapters.sql.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter most of a table in place
)
with context.begin_transaction():
    context.run_migrations()
