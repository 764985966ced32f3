"""Run by alembic: apply the steps on the connection, inside the transaction, that `ensure_schema` opened."""

from alembic import context

from trials.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
    render_as_batch=True,
    transactional_ddl=True,
)
context.run_migrations()
