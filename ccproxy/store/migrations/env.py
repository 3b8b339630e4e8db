"""Alembic runs this script to migrate; `ccproxy.store.upgrade` passes a connection."""

from alembic import context

from ccproxy.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata
)
with context.begin_transaction():
    context.run_migrations()
