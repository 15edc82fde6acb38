"""What Alembic runs for every command: migrate on the connection that it was given."""

from __future__ import annotations

from alembic import context

from eventmesh.store.migrate import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    # The transaction is its owner's, who holds the lock against other replicas.
    transactional_ddl=False,
)
context.run_migrations()
