"""A server of our own as a process of this machine: on loopback, with one address for life.

How to think about it: `start` and `stop` (or `kill`) may follow one another as often as a test
wants. A start is over when the server answers as the one that was started here, which each kind of
server proves in its own way, so that a stranger on the port can't be taken for it. It ends with the
process that started it, whatever ends that one.
"""

import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from infra.leash import Leash

HOST = "127.0.0.1"

LOG_BYTES_MAX = 10 * 1024 * 1024
"""A longer log is put aside as `NAME.log.1` at the next start."""

_POLL_SECONDS = 0.02

# Below the range that systems take outgoing connections' ports from: while a server is down, no
# client's own connection may end up with its port.
_ports = range(20_000, 32_000)
_given: set[int] = set()


class LocalServer(ABC):
    """Not for several threads at once."""

    name: ClassVar[str]
    error: ClassVar[type[RuntimeError]]
    """What `start` raises."""
    start_seconds_max: ClassVar[float]
    stop_seconds_max: ClassVar[float]
    """After that it is killed."""

    def __init__(self, data_dir: Path, port: int | None) -> None:
        self._data_dir = data_dir.resolve()
        self._process: subprocess.Popen[bytes] | None = None
        self._leash: Leash | None = None
        self._log_start = 0
        self.port = port or free_port()
        give(self.port)
        self.log = self._data_dir / f"{self.name.lower()}.log"

    @property
    def is_alive(self) -> bool:
        """Whether the process runs; a paused one does."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> Self:
        """Start the server; it answers when this returns. Starting a live one changes nothing.

        Raises `error`, infra.java.JarsMissing.
        """
        if self.is_alive:
            return self
        self.kill()  # what is left of one that ended by itself
        if not is_free(self.port):
            raise self.error(f"port {self.port} is taken by another program")
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._launch(self._prepare())
        try:
            self._wait_until_up()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """End it in good order. Stopping a stopped one changes nothing."""
        process = self._process
        if process is None:
            return
        process.terminate()
        self.resume()  # a paused one would never see it
        try:
            process.wait(self.stop_seconds_max)
        except subprocess.TimeoutExpired:
            process.kill()
        self._reap()

    def kill(self) -> None:
        """End it as a crash does (kill -9)."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def pause(self) -> None:
        """Let it be away without a word: its connections stay open, and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        # The signal stops one thread after the other; only then nothing is answered any more.
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """End a pause."""
        if self.is_alive:
            os.kill(self.pid, signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self) -> list[str]:
        """The command that runs it, with all in place that it needs. Raises `error`."""

    @abstractmethod
    def _is_up(self) -> bool:
        """Whether it answers, and is ours; may take a second to say so."""

    def _launch(self, command: list[str]) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            # In a session of its own: a terminal's Ctrl-C is for its owner, which stops it last.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._leash = Leash(self._process.pid)

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + self.start_seconds_max
        while not self._is_up():
            if not self.is_alive:
                how = f"ended at its start (exit code {self._process and self._process.returncode})"
            elif time.monotonic() > deadline:
                how = f"was not up after {self.start_seconds_max:.0f} s"
            else:
                time.sleep(_POLL_SECONDS)
                continue
            raise self.error(f"{self.name} {how}; the end of {self.log}:\n{self._said()}")

    def _said(self) -> str:
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-20:])

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait()
        if self._leash is not None:
            self._leash.drop()
        self._process = self._leash = None


def free_port() -> int:
    """A port of this machine that nobody listens on now, and not the same one twice a process."""
    while True:
        port = random.choice(_ports)
        if port not in _given and is_free(port):
            _given.add(port)
            return port


def give(*ports: int) -> None:
    """They have their owners, who may not have bound them yet: `free_port` passes them over."""
    _given.update(ports)


def share_ports(share: int, shares: int) -> None:
    """From now on `free_port` gives only its share, counted from 0, of as many.

    For processes beside one another: a port is bound a while after it was chosen.
    """
    global _ports
    _ports = _ports[share::shares]


def is_free(port: int) -> bool:
    """Whether a server could take this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a dead predecessor that still linger don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
