"""Who owns a data folder: one process at a time, for as long as it lives.

How to think about it: the kernel holds the lock (flock), not the file, so it ends with its owner,
kill -9 included, and is never stale. The file's text is only news for people and for commands that
want to join: the owner's process id and, once its server is up, the server's URL.
"""

import os
from pathlib import Path


class DataDirInUse(RuntimeError):
    """Another live process owns this data folder; the message says which, and what to do."""


class DataDirLock:
    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._fd: int | None = None

    def acquire(self) -> None:
        """Make this process the owner. Raises DataDirInUse."""
        import fcntl  # not on Windows, where this module must still import

        # Python's descriptors are not inherited: the server that we start can't keep the lock.
        fd = os.open(_path(self._data_dir), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # What a killed owner told is gone before we are to be seen as the owner.
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            os.ftruncate(fd, 0)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(fd, 100, 0).decode("ascii", "replace").partition("\n")[0]
            os.close(fd)
            if not isinstance(error, BlockingIOError):
                raise
            raise DataDirInUse(
                f"{self._data_dir} is in use by process {owner or '(just starting)'}: "
                "stop that one first, or set DATA_DIR to another folder"
            ) from None
        self._fd = fd
        self._write(f"{os.getpid()}\n")

    def announce(self, url: str) -> None:
        """From now on `running_url` answers `url`."""
        self._write(f"{os.getpid()}\n{url}\n")

    def release(self) -> None:
        """Let another process own the folder. Harmless when it isn't ours."""
        if self._fd is not None:
            # The file stays: a name that comes and goes could be locked twice.
            self._write("")
            os.close(self._fd)
            self._fd = None

    def _write(self, text: str) -> None:
        assert self._fd is not None
        os.pwrite(self._fd, text.encode(), 0)
        os.ftruncate(self._fd, len(text.encode()))


def running_url(data_dir: Path) -> str | None:
    """The URL of the server that a live process runs on this folder; None where there is none."""
    import fcntl

    try:
        fd = os.open(_path(data_dir), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        lines = os.pread(fd, 4096, 0).decode().split("\n")
        # Whole lines only: the owner may be writing this very moment.
        return lines[1] if len(lines) == 3 else None
    finally:
        os.close(fd)
    return None


def _path(data_dir: Path) -> Path:
    return data_dir / "lock"
