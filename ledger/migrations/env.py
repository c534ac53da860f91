"""Alembic's entry: runs inside the transaction `Database.migrate` opened."""

from alembic import context

from ledger.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
