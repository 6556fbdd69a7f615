"""event_layout: the SQL is in the two files beside this one."""

from payment_manager.adapters.postgres.migrations.plain_sql import run_sql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_sql(__file__, "up")


def downgrade() -> None:
    run_sql(__file__, "down")
