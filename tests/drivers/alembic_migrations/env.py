"""What people have in their env.py, chosen by `-x`: a schema for the version table, a lock, a tenant's schema.

`lock=session` holds pg_advisory_lock over the whole migration, `lock=transaction` its transaction's
sibling. `tenant=NAME` is Alembic's recipe for a schema a tenant: SET search_path, committed.
"""

import os

import sqlalchemy as sa
from alembic import context

LOCK = 4711004711
chosen = context.get_x_argument(as_dictionary=True)
metadata = context.config.attributes.get("metadata")
tenant = chosen.get("tenant")


def options():
    """For context.configure."""
    found = {"target_metadata": metadata, "compare_type": True, "compare_server_default": True,
             "version_table": "drv_alembic_version", "transaction_per_migration": "each" in chosen}
    if tenant is None:
        schema = chosen["schema"]
        found |= {"version_table_schema": schema, "include_schemas": True,
                  "include_name": lambda name, type_, _parents: type_ != "schema" or name == schema}
    return found


def migrate(connection):
    """One run over an open connection."""
    if tenant is not None:
        connection.execute(sa.text(f'set search_path to "{tenant}"'))
        connection.commit()  # or it would be rolled back with the first transaction
        connection.dialect.default_schema_name = tenant
    if chosen.get("lock") == "session":
        connection.execute(sa.text("select pg_advisory_lock(:key)"), {"key": LOCK})
        connection.commit()
    try:
        context.configure(connection=connection, **options())
        with context.begin_transaction():
            if chosen.get("lock") == "transaction":
                connection.execute(sa.text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
            context.run_migrations()
    finally:
        if chosen.get("lock") == "session":
            connection.rollback()
            if not connection.scalar(sa.text("select pg_advisory_unlock(:key)"), {"key": LOCK}):
                raise RuntimeError("the lock was not held")
            connection.commit()


env = os.environ
url = sa.URL.create(
    "postgresql+psycopg", env["PGUSER"], env["PGPASSWORD"], env["PGHOST"], int(env["PGPORT"]), env["PGDATABASE"])
engine = sa.create_engine(url, poolclass=sa.pool.NullPool, connect_args={"connect_timeout": 20})
with engine.connect() as opened:
    migrate(opened)
