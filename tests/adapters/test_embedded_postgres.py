"""The embedded server, on the real thing: what it survives, what it refuses and leaves alone."""

import asyncio
import fcntl
import os
import shutil
import signal
import stat
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from payment_manager.adapters.postgres import embedded, server_processes
from payment_manager.adapters.postgres.data_dir_lock import DataDirLock
from payment_manager.adapters.postgres.embedded import (
    DataDirInUse,
    EmbeddedPostgres,
    EmbeddedPostgresError,
    running_url,
)
from payment_manager.adapters.postgres.server_binaries import find_binaries

pytestmark = pytest.mark.integration

# Another process that owns a data folder and says which rows are committed.
OWNER = """
import asyncio, sys
from pathlib import Path
import psycopg
from payment_manager.adapters.postgres.embedded import EmbeddedPostgres

async def main():
    folder, *programs = map(Path, sys.argv[1:])
    server = EmbeddedPostgres(folder, programs=(lambda: programs[0]) if programs else None)
    url = await server.start()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("create table kept (n int)")
        for n in range(1_000_000):
            await connection.execute("insert into kept values (%s)", [n])
            print(n, flush=True)

asyncio.run(main())
"""


# An initdb that has ended only when whoever started it has: in time to be killed before it.
UNHURRIED_INITDB = """\
#!/bin/sh
{initdb} "$@"
while kill -0 $PPID; do sleep 0.05; done
"""

SECONDS_MAX = 60.0
"""For whatever a second is enough for, on a machine that does nothing else."""


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder whose cluster is made already: copying it is faster than making another."""
    folder = tmp_path_factory.mktemp("made")

    async def make() -> None:
        server = EmbeddedPostgres(folder)
        await server.start()
        await server.stop()

    asyncio.run(make())
    return folder


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def data_dir(empty: Path, made_once: Path) -> Path:
    shutil.copytree(made_once, empty)
    return empty


@pytest.fixture(autouse=True)
async def nothing_is_left_running(tmp_path: Path) -> AsyncIterator[None]:
    yield
    left = [
        pid
        for cluster in tmp_path.rglob("postgres")
        for pid in server_processes.running_on(cluster)
    ]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(folder)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def owned_by_another(folder: Path, *, rows: int) -> AsyncIterator[Process]:
    """A process that owns `folder` and has committed at least `rows` rows; killed at the end."""
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER, str(folder)), stdout=PIPE
    )
    try:
        assert owner.stdout is not None
        async for line in owner.stdout:
            if line == b"%d\n" % (rows - 1):
                break
        yield owner
    finally:
        if owner.returncode is None:
            await kill(owner)


async def kill(owner: Process) -> int:
    """Kill -9 the owner; answers how many rows it knew to be committed since it said so last."""
    owner.kill()
    assert owner.stdout is not None
    said = [line async for line in owner.stdout if line.endswith(b"\n")]
    await owner.wait()
    return int(said[-1]) + 1 if said and said[-1][:1].isdigit() else 0


async def one(url: str, query: str) -> object:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return row[0]


async def execute(url: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute(statement)


async def eventually(what: Callable[[], Awaitable[object]]) -> object:
    """The first answer of a server that is on its way back."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            try:
                return await what()
            except psycopg.OperationalError:
                await asyncio.sleep(0.02)


def postmaster(folder: Path) -> int:
    return server_processes.postmaster_pid(folder / "postgres")


async def test_an_empty_folder_becomes_a_server_whose_rows_outlive_it(empty: Path) -> None:
    async with running(empty) as server:
        await execute(server.url, "create table kept as select 42 as n")
    async with running(empty) as server:
        assert await one(server.url, "select n from kept") == 42


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("TimeZone", "UTC"),
        ("server_encoding", "UTF8"),
    ],
)
async def test_it_is_durable_private_and_the_same_everywhere(
    setting: str, value: str, data_dir: Path
) -> None:
    async with running(data_dir) as server:
        assert await one(server.url, f"show {setting}") == value


async def test_settings_can_be_given_over_the_defaults(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir, port=6543, settings={"work_mem": "7MB", "jit": "on"})
    url = await server.start()
    try:
        assert [await one(url, f"show {name}") for name in ("work_mem", "jit", "port")] == [
            "7MB",
            "on",
            "6543",
        ]
    finally:
        await server.stop()


async def test_starting_and_stopping_twice_changes_nothing(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    await server.stop()
    assert await server.start() == await server.start() == server.url
    await server.stop()
    await server.stop()
    assert await server.start() == server.url
    await server.stop()


async def test_only_its_own_user_can_reach_it_and_the_parents_keep_their_modes(
    tmp_path: Path,
) -> None:
    # Short: in a deeper folder the socket's path would be too long, and it would be elsewhere.
    folder = tmp_path / "a" / "b"
    folder.parent.mkdir(parents=True)
    parents = [tmp_path, tmp_path / "a"]
    for parent in parents:
        parent.chmod(0o700)
    async with running(folder):
        cluster = folder / "postgres"
        assert stat.S_IMODE(cluster.stat().st_mode) == 0o700
        assert stat.S_IMODE((cluster / ".s.PGSQL.5432").stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "postgres.log").stat().st_mode) == 0o600
        assert [stat.S_IMODE(parent.stat().st_mode) for parent in parents] == [0o700] * 2
    assert sorted(path.name for path in folder.iterdir()) == ["lock", "postgres", "postgres.log"]


@pytest.mark.parametrize("name", ["long" * 40, "a, b", 'with "quotes" and spaces'])
async def test_a_path_that_is_no_good_for_a_socket_works_too(
    name: str, tmp_path: Path, data_dir: Path
) -> None:
    folder = data_dir.rename(tmp_path / name)
    server = EmbeddedPostgres(folder)
    url = await server.start()
    assert await one(url, "select 1") == 1
    socket_dir = Path(str(await one(url, "show unix_socket_directories")).strip('"'))
    await server.stop()
    assert socket_dir.exists() == (socket_dir.parent == folder)


async def test_a_terminals_interrupt_does_not_reach_it(data_dir: Path) -> None:
    async with running(data_dir):
        assert os.getsid(postmaster(data_dir)) != os.getsid(0)


async def test_a_second_owner_is_refused_and_told_whom_to_stop(data_dir: Path) -> None:
    async with owned_by_another(data_dir, rows=1) as owner:
        with pytest.raises(DataDirInUse, match=f"in use by process {owner.pid}: stop that one"):
            await EmbeddedPostgres(data_dir).start()
        await kill(owner)
        async with running(data_dir):
            with pytest.raises(DataDirInUse, match=f"in use by process {os.getpid()}"):
                await EmbeddedPostgres(data_dir).start()


async def test_the_running_url_is_that_of_a_live_owner_only(data_dir: Path) -> None:
    assert running_url(data_dir / "nowhere") is None
    assert running_url(data_dir) is None
    async with owned_by_another(data_dir, rows=1) as owner:
        url = running_url(data_dir)
        assert url == EmbeddedPostgres(data_dir).url
        assert await one(url, "select 1") == 1
        await kill(owner)
        assert running_url(data_dir) is None, "its server may live on, but nobody looks after it"
    async with running(data_dir) as server:
        assert running_url(data_dir) == server.url
    assert running_url(data_dir) is None


def test_what_a_killed_owner_told_is_gone_before_the_next_is_taken_for_it(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty.mkdir()
    (empty / "lock").write_text("4711\npostgresql://of-a-dead-server\n")
    said: list[str | None] = []
    flock = fcntl.flock

    def looked_at(fd: int, how: int) -> None:
        flock(fd, how)
        said.append(running_url(empty))

    lock = DataDirLock(empty)
    with monkeypatch.context() as patched:
        # Somebody looks at each step, though not within his own look.
        patched.setattr(
            fcntl, "flock", lambda fd, how: (flock if how & fcntl.LOCK_SH else looked_at)(fd, how)
        )
        lock.acquire()
    assert said == [None]
    lock.release()


@pytest.mark.parametrize("server_too", [False, True], ids=["server lives on", "server killed too"])
async def test_what_was_committed_outlives_a_killed_owner(server_too: bool, data_dir: Path) -> None:
    async with owned_by_another(data_dir, rows=100) as owner:
        if server_too:
            os.kill(postmaster(data_dir), signal.SIGKILL)
        committed = max(100, await kill(owner))
    orphan = postmaster(data_dir)
    async with running(data_dir) as server:
        assert postmaster(data_dir) != orphan
        kept = await one(server.url, "select array_agg(n order by n) from kept")
    assert isinstance(kept, list)
    # The one under way may be there without its answer.
    assert kept in (list(range(committed)), list(range(committed + 1)))


async def test_a_killed_server_comes_back_by_itself_with_what_was_committed(
    data_dir: Path,
) -> None:
    async with running(data_dir) as server:
        await execute(server.url, "create table kept as select 42 as n")
        for _ in range(3):
            killed = postmaster(data_dir)
            os.kill(killed, signal.SIGKILL)
            assert await eventually(lambda: one(server.url, "select n from kept")) == 42
            assert postmaster(data_dir) != killed


async def test_a_backend_that_is_too_busy_to_notice_does_not_keep_the_server_down(
    data_dir: Path,
) -> None:
    async with running(data_dir) as server:
        busy = asyncio.create_task(
            one(server.url, "select count(*) from generate_series(1, 1000000000)")
        )
        async with asyncio.timeout(SECONDS_MAX):
            while (
                await one(
                    server.url,
                    "select count(*) from pg_stat_activity where query like "
                    "'%generate%' and state = 'active' and pid <> pg_backend_pid()",
                )
                == 0
            ):
                await asyncio.sleep(0.02)
        os.kill(postmaster(data_dir), signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            await busy
        assert await eventually(lambda: one(server.url, "select 1")) == 1


async def test_a_server_that_is_stopped_is_not_started_again(data_dir: Path) -> None:
    server = EmbeddedPostgres(data_dir)
    await server.start()
    os.kill(postmaster(data_dir), signal.SIGKILL)
    await server.stop()
    with pytest.raises(psycopg.OperationalError):
        await one(server.url, "select 1")
    # Its helpers notice its death, each in its own time.
    async with asyncio.timeout(SECONDS_MAX):
        while server_processes.running_on(data_dir / "postgres"):
            await asyncio.sleep(0.02)


async def test_a_server_that_a_killed_owner_had_just_started_is_ended_when_it_shows(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its start and its first sign of life, nobody finds it."""
    cluster, binaries = data_dir / "postgres", await find_binaries()
    orphans: list[Process] = []

    async def looked_too_early(cluster: Path) -> None:
        await server_processes.end_leftovers(cluster)
        if orphans:
            return
        command = binaries.command("postgres", "-D", str(cluster), "-p", "6543")
        command += ["--listen_addresses=", f"--unix_socket_directories={cluster}"]
        orphans.append(
            await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
        )
        async with asyncio.timeout(SECONDS_MAX):
            while not server_processes.says_ready(cluster, orphans[0].pid):
                await asyncio.sleep(0.02)

    monkeypatch.setattr(embedded, "end_leftovers", looked_too_early)
    async with running(data_dir) as server:
        assert await one(server.url, "select 1") == 1
        assert await orphans[0].wait() == 0
        assert server_processes.running_on(cluster)


async def test_a_pid_file_that_names_somebody_else_does_not_stop_the_start(data_dir: Path) -> None:
    bystander = await asyncio.create_subprocess_exec("sleep", "600")
    try:
        for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
            (data_dir / "postgres" / name).write_text(f"{bystander.pid}\n")
        async with running(data_dir) as server:
            assert await one(server.url, "select 1") == 1
        assert bystander.returncode is None
    finally:
        bystander.kill()
        await bystander.wait()


async def test_an_owner_killed_in_the_middle_of_making_the_cluster_leaves_nothing_half_made(
    empty: Path, tmp_path: Path
) -> None:
    real, programs = (await find_binaries()).folder, tmp_path / "programs"
    programs.mkdir()
    (programs / "postgres").symlink_to(real / "postgres")
    (programs / "initdb").write_text(UNHURRIED_INITDB.format(initdb=real / "initdb"))
    (programs / "initdb").chmod(0o755)
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNER, str(empty), str(programs)), stdout=PIPE
    )
    async with asyncio.timeout(SECONDS_MAX):
        while not list(empty.glob("postgres.unfinished-*/PG_VERSION")):
            await asyncio.sleep(0.005)
    await kill(owner)
    assert not (empty / "postgres").exists()
    async with running(empty) as server:
        assert await one(server.url, "select 1") == 1


async def test_a_start_that_is_cancelled_leaves_no_server_and_no_lock(data_dir: Path) -> None:
    starting = asyncio.create_task(EmbeddedPostgres(data_dir).start())
    async with asyncio.timeout(SECONDS_MAX):
        while not server_processes.running_on(data_dir / "postgres"):
            await asyncio.sleep(0.002)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert server_processes.running_on(data_dir / "postgres") == []
    async with running(data_dir) as server:
        assert await one(server.url, "select 1") == 1


async def test_a_server_that_cannot_start_says_why_and_lets_go_of_the_folder(
    data_dir: Path,
) -> None:
    with pytest.raises(EmbeddedPostgresError, match='invalid value for parameter "work_mem": "x"'):
        await EmbeddedPostgres(data_dir, settings={"work_mem": "x"}).start()
    async with running(data_dir) as server:
        assert await one(server.url, "select 1") == 1


async def test_another_versions_cluster_is_refused_untouched(data_dir: Path) -> None:
    (data_dir / "postgres" / "PG_VERSION").write_text("15\n")
    ours = (await find_binaries()).version
    with pytest.raises(EmbeddedPostgresError, match=f"made by PostgreSQL 15.*here are {ours}"):
        await EmbeddedPostgres(data_dir).start()
    assert not (data_dir / "postgres" / "postmaster.pid").exists()


async def test_a_folder_of_other_files_is_refused_untouched(empty: Path) -> None:
    (empty / "postgres").mkdir(parents=True)
    (empty / "postgres" / "diary.txt").write_text("mine")
    with pytest.raises(EmbeddedPostgresError, match="move it away"):
        await EmbeddedPostgres(empty).start()
    assert (empty / "postgres" / "diary.txt").read_text() == "mine"


async def test_root_without_user_namespaces_is_told_what_to_do(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EmbeddedPostgresError, match="as another user, or set PG_URL"):
        await EmbeddedPostgres(data_dir).start()


async def test_a_long_log_is_put_aside(data_dir: Path) -> None:
    log = data_dir / "postgres.log"
    log.write_bytes(b"x" * (10 * 1024 * 1024 + 1))
    async with running(data_dir):
        assert log.stat().st_size < 10_000
        assert (data_dir / "postgres.log.1").stat().st_size > 10_000_000
