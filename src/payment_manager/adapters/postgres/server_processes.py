"""The PostgreSQL processes that work on one cluster, whoever started them.

How to think about it: our owner can be killed and leave its server running, the server can be
killed and leave its backends running, and a process id in `postmaster.pid` may belong to somebody
else by now (in a container that is the rule). So we look at what runs, not at what a file says. To
be called by the owner of the data folder only: nothing may start on the cluster meanwhile.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from payment_manager.adapters.postgres.server_binaries import EmbeddedPostgresError

_log = structlog.get_logger()

# A fast shutdown ends transactions and writes a checkpoint; an immediate one leaves recovery to the
# next start; the last needs no consent. All three lose nothing that was committed.
_ENDINGS = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

_POLL_SECONDS = 0.02


async def end_leftovers(cluster: Path) -> None:
    """Make sure that nothing runs on `cluster`, and that its pid file can't stop the next server.

    Raises EmbeddedPostgresError if a process can't be ended.
    """
    left = await asyncio.to_thread(running_on, cluster)
    if left:
        _log.warning("postgres_leftovers_found", pids=left, cluster=str(cluster))
    for how, patience_seconds in _ENDINGS:
        if not left:
            break
        postmaster = postmaster_pid(cluster)
        # A live postmaster ends its backends itself, in good order.
        one = postmaster in left and how != signal.SIGKILL
        for pid in left if not one else [postmaster]:
            with suppress(ProcessLookupError):
                os.kill(pid, how)
        left = await _until_gone(left, cluster, patience_seconds)
    if left:
        raise EmbeddedPostgresError(f"processes {left} still use {cluster}: end them")
    _drop_misleading_pid_file(cluster)


def running_on(cluster: Path) -> list[int]:
    """The ids of all live PostgreSQL processes on `cluster`, in no order."""
    if Path("/proc/self/cwd").exists():
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and _is(name, cluster)]
    # Elsewhere (macOS) only the postmaster can be told by its command line.
    listed = subprocess.run(
        ["ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=True
    )
    lines = (line.strip().partition(" ") for line in listed.stdout.splitlines())
    return [int(pid) for pid, _, command in lines if f"postgres -D {cluster} " in f"{command} "]


def postmaster_pid(cluster: Path) -> int:
    """Whom the cluster's pid file names; 0 for nobody. That process may be gone, or another."""
    first = _pid_file(cluster)[:1]
    return int(first[0]) if first and first[0].isdigit() else 0


def says_ready(cluster: Path, pid: int) -> bool:
    """Whether the server `pid` has written that it takes connections (as pg_ctl reads it)."""
    lines = _pid_file(cluster)
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _pid_file(cluster: Path) -> Sequence[str]:
    try:
        return (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _is(pid: str, cluster: Path) -> bool:
    # Every process of a server works in its data folder and keeps the program's name.
    try:
        return (
            os.readlink(f"/proc/{pid}/cwd") == str(cluster)
            and Path(f"/proc/{pid}/comm").read_text() == "postgres\n"
        )
    except OSError:
        return False  # gone, a zombie, or somebody else's


async def _until_gone(pids: Sequence[int], cluster: Path, patience_seconds: float) -> list[int]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_seconds
    left = list(pids)
    # Polled, since no event tells of the end of a process that isn't our child.
    while left and loop.time() < deadline:
        await asyncio.sleep(_POLL_SECONDS)
        left = [pid for pid in left if _is_alive(pid, cluster)]
    return left or await asyncio.to_thread(running_on, cluster)


def _is_alive(pid: int, cluster: Path) -> bool:
    return _is(str(pid), cluster) if Path("/proc/self/cwd").exists() else _exists(pid)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _drop_misleading_pid_file(cluster: Path) -> None:
    # PostgreSQL overwrites a dead server's pid file itself, but believes one whose number has gone
    # to another process, and refuses to start. Nothing runs here any more, so the file lies.
    pid = postmaster_pid(cluster)
    if pid and _exists(pid):
        (cluster / "postmaster.pid").unlink(missing_ok=True)
