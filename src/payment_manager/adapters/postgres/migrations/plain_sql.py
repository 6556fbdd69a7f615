"""Migrations in plain SQL: a version is three files, `NNNN_name.py`, `.up.sql` and `.down.sql`."""

from pathlib import Path
from typing import Literal

from alembic import op


def run_sql(version_file: str, direction: Literal["up", "down"]) -> None:
    """Run the file beside `version_file`, in the migration's transaction."""
    text = Path(version_file).with_suffix(f".{direction}.sql").read_text(encoding="utf-8")
    # The driver's own connection, without parameters: it takes many statements at once, and a % is
    # a %.
    driver = op.get_bind().connection.driver_connection
    assert driver is not None
    driver.execute(text)
