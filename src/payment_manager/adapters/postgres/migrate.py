"""The schema, brought to the version that this code needs.

How to think about it: every process may call `upgrade` at its start; an advisory lock lets one work
and the others wait, and who comes second finds nothing to do. Each version runs in a transaction of
its own, so a failure leaves the last whole one. Waiting for a table's lock is bounded: a migration
that can't get it fails and is tried again, instead of stopping everybody behind it.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 8230617000  # any number; the same in every process


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at `url` to `revision`. Blocking: run it in a thread."""
    with _locked(url) as connection:
        command.upgrade(_config(connection), revision)


def downgrade(url: str, revision: str) -> None:
    """Take the database back to `revision` (`base`: to nothing). What the versions above added is
    lost.
    """
    with _locked(url) as connection:
        command.downgrade(_config(connection), revision)


def current(url: str) -> str | None:
    """The version that the database is at; None where it has no schema of ours."""
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
            return None
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return row[0] if row else None


def head() -> str | None:
    """The newest version that this code knows."""
    return ScriptDirectory.from_config(_config(None)).get_current_head()


def new_version(name: str) -> list[Path]:
    """Make the three files of the next version; the SQL is yours to write."""
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not slug:
        raise ValueError("a migration needs a name with letters or digits")
    number = f"{int(head() or 0) + 1:04}"
    made = command.revision(_config(None), message=slug, rev_id=number)
    assert not isinstance(made, list)
    assert made is not None
    script = Path(made.path)
    paths = [script]
    for direction, purpose in (("up", "what it adds and why"), ("down", "the way back")):
        path = script.with_suffix(f".{direction}.sql")
        path.write_text(f"-- {slug}: {purpose}.\n", encoding="utf-8")
        paths.append(path)
    return paths


@contextmanager
def _locked(url: str) -> Iterator[Connection]:
    # Two connections: the lock belongs to a session, and each version has a transaction of its own.
    with psycopg.connect(url, autocommit=True) as lock:
        lock.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        engine = create_engine(
            "postgresql+psycopg://", creator=lambda: _connect(url), poolclass=NullPool
        )
        with engine.connect() as connection:
            yield connection


def _connect(url: str) -> psycopg.Connection:
    connection = psycopg.connect(url, autocommit=True)
    connection.execute("SET lock_timeout = '5s'")
    connection.execute("SET timezone = 'UTC'")
    connection.autocommit = False
    return connection


def _config(connection: Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
