"""What is fetched once a machine: folders in the user's cache, whole or not there.

How to think about it: a folder gets its name only when it is filled, so a half-filled one is never
seen, however many processes ask at once and however they end. Its name must change with whatever it
is made of; what has another name is another folder.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def cached_folder(name: str, fill: Callable[[Path], None]) -> Path:
    """The folder of this name, made by `fill` where this machine hasn't got it yet.

    Raises what `fill` raises; then nothing is kept.
    """
    folder = path_of(name)
    if folder.is_dir():
        return folder
    with alone(name):
        if folder.is_dir():
            return folder
        unfinished = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=folder.parent))
        try:
            fill(unfinished)
            unfinished.chmod(0o755)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    return folder


@contextmanager
def alone(name: str) -> Iterator[None]:
    """One process of this machine at a time; the others wait."""
    lock_file = path_of(f"{name}.lock")
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it, however we end
        yield


def path_of(name: str) -> Path:
    """Where the folder of this name is, or would be."""
    cache_dir = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache_dir / "payment-manager" / name
