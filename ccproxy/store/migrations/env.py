"""Alembic runs this to migrate, over the connection that `upgrade` passes."""

from alembic import context

from ccproxy.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata
)
with context.begin_transaction():
    context.run_migrations()
