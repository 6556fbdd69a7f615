"""Servers that stay when the command that started them has ended, until they are told to stop.

How to think about it: one keeper process owns them, and a lock in the data folder says that it
lives. The kernel holds the lock, so a keeper that was killed is never taken for a live one, and a
process id is never believed without it. The file's text is what the keeper has to tell, as JSON.
"""

import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

START_SECONDS_MAX = 400.0
"""On a machine that has to fetch the servers first. A keeper that fails ends long before."""

STOP_SECONDS_MAX = 90.0
"""As long as its servers may take, one after the other, and some more. After that it is killed, and
they with it.
"""

_POLL_SECONDS = 0.05

_SIZE_BYTES = 4096


class BackgroundFailed(Exception):
    """The keeper didn't start; the message has the end of its log."""


class Keeper:
    """The keeper's own side: who holds this is the one."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(_file(data_dir), os.O_RDWR | os.O_CREAT, 0o600)
        # What the last keeper told is gone before this one is to be seen as alive: a process id in
        # it is somebody else's by now.
        self._lock(fcntl.LOCK_SH)
        os.ftruncate(self._fd, 0)
        self._lock(fcntl.LOCK_EX)
        self._tell({})

    def announce(self, settings: Mapping[str, str]) -> None:
        """All is up; with these settings our services find it."""
        self._tell(settings)

    def _lock(self, how: int) -> None:
        deadline = time.monotonic() + 1.0
        while True:
            try:
                fcntl.flock(self._fd, how | fcntl.LOCK_NB)
            except BlockingIOError:
                # Who only looks whether there is one holds it too, for a moment.
                if time.monotonic() > deadline:
                    os.close(self._fd)
                    raise BackgroundFailed("another keeper owns this data folder") from None
                time.sleep(_POLL_SECONDS)
            else:
                return

    def _tell(self, settings: Mapping[str, str]) -> None:
        text = json.dumps({"pid": os.getpid(), "settings": dict(settings)}).encode()
        # One write, and each longer than the one before: it is read whole, or as the one before.
        os.pwrite(self._fd, text, 0)


def settings_of_running(data_dir: Path) -> Mapping[str, str] | None:
    """What a live keeper announced; None where none lives, or it isn't ready."""
    said = _said_by_live(data_dir)
    return (said and said["settings"]) or None


def start(data_dir: Path, command: Sequence[str]) -> Mapping[str, str]:
    """Run `command` as the keeper until it has announced itself; a live one stays.

    Raises BackgroundFailed.
    """
    if settings := settings_of_running(data_dir):
        return settings
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / "infrastructure.log"
    with log.open("wb") as output:
        keeper = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it outlives this command and its terminal
        )
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if keeper.poll() is not None:
            raise BackgroundFailed(log.read_text(errors="replace").strip()[-2000:])
        if settings := settings_of_running(data_dir):
            # It stays, and we don't: that nobody waits for it here is meant, and no warning.
            keeper.returncode = 0
            return settings
        time.sleep(_POLL_SECONDS)
    keeper.kill()
    keeper.wait()
    raise BackgroundFailed(f"nothing was up after {START_SECONDS_MAX:.0f} s; see {log}")


def stop(data_dir: Path) -> bool:
    """Stop the keeper with all that it keeps; False where there was none."""
    said = _said_by_live(data_dir)
    if said is None:
        return False
    os.kill(said["pid"], signal.SIGTERM)
    if not _is_gone_within(data_dir, STOP_SECONDS_MAX):
        os.kill(said["pid"], signal.SIGKILL)
        _is_gone_within(data_dir, STOP_SECONDS_MAX)
    return True


def _is_gone_within(data_dir: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _said_by_live(data_dir) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)  # it isn't our child: no event tells of its end
    return True


def _said_by_live(data_dir: Path) -> dict[str, Any] | None:
    try:
        fd = os.open(_file(data_dir), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            said: dict[str, Any] = json.loads(os.pread(fd, _SIZE_BYTES, 0))
        except ValueError:
            return None  # it is about to write for the first time
        return said
    finally:
        os.close(fd)
    return None


def _file(data_dir: Path) -> Path:
    return data_dir / "infrastructure.json"
