"""Alembic's entry: how a migration gets its connection (see `migrate.py`, which is the only one to
call it).
"""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, transactional_ddl=True, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
