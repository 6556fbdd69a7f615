"""event_batches: the SQL is in the two files beside this one."""

from payment_manager.adapters.postgres.migrations.plain_sql import run_sql

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
