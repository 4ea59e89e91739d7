"""Run migrations on the connection that `vault.registry.database` opened (alembic loads this by its path)."""

from alembic import context

from vault.registry.schema import VERSIONS_OF_SCHEMA

given = context.config.attributes
context.configure(
    connection=given["connection"],
    version_table=VERSIONS_OF_SCHEMA,
    version_table_schema=given["schema"],
)
with context.begin_transaction():
    context.run_migrations()
