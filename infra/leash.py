"""A leash for a child process: when its owner is gone, however it went, the child goes too.

How to think about it: the kernel closes a dead process's pipes, kill -9 included. A tiny watcher
holds the other end of one and ends the child when it closes. Not PR_SET_PDEATHSIG: that is Linux's
alone, and it fires when the *thread* that started the child ends, which a test's thread does.
"""

import subprocess
from typing import Self

# `read` returns at the end of the file, that is when no process holds the writing end any more.
# A stopped process takes no SIGTERM until it is continued; the last signal needs no consent.
_WATCH = """
read -r _
kill -TERM "$1" && kill -CONT "$1" || exit 0
left=$2
while [ "$left" -gt 0 ]; do sleep 0.1; kill -0 "$1" || exit 0; left=$((left - 1)); done
kill -KILL "$1"
"""


class Leash:
    def __init__(self, pid: int, *, patience_seconds: float = 0.0) -> None:
        """Watch over the child `pid`; once orphaned it has so long to end after SIGTERM."""
        self._watcher = subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, "leash", str(pid), str(int(patience_seconds * 10))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C or hang-up is not for the watcher
        )

    def drop(self) -> None:
        """To be called when the child has ended, before its number can go to another process."""
        self._watcher.kill()
        self._watcher.wait()
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.drop()
