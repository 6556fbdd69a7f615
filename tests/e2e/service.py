"""The service as its users have it: the installed command in a process of its own.

How to think about it: a `Service` is a data folder and the settings that go with it; it can be
started, stopped, killed and started again, and what it writes is read line by line while it runs.
Each has ports of its own, so that any number of services run beside one another.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import httpx
import psycopg

from infra.local_server import free_port
from payment_manager.adapters.postgres.embedded import running_url
from payment_manager.adapters.postgres.server_processes import postmaster_pid, running_on
from tests.webhooks import ANN, BOB

COMMAND = Path(sys.executable).with_name("payment-manager")

START_SECONDS_MAX = 60.0
"""It takes two, the making of a cluster included; other tests may have the machine meanwhile."""

WAIT_SECONDS_MAX = 60.0
"""For what comes by itself. Only a failure takes so long, so it is as long as any machine needs."""

SECRET = "canary-4111-1111-1111-1111"
"""Stands in bodies. Found in a log line or an error's text, it tells that bodies leak."""

NEVER_LOGGED = (SECRET, ANN[:-2], BOB)
"""The users of `Load` differ from Ann in the last two digits."""

QUICK = {"LOG_FORMAT": "json", "SIMULATOR_PORT": "0", "RECONCILE_INTERVAL": "300ms"}


class Service:
    """`payment-manager COMMAND` on one data folder.

    `expected` names the errors that its log may hold.
    """

    def __init__(self, data_dir: Path, command: str = "dev", **settings: str) -> None:
        self.data_dir = data_dir
        self.command = command
        self._name = "api" if command == "dev" else command
        # Not 0, the range of outgoing connections: by the next start a client may have that port.
        self.settings = {**QUICK, "PORT": str(free_port()), "DATA_DIR": str(data_dir), **settings}
        self.expected: set[str] = set()
        self.lines: list[str] = []
        self._checked = 0
        self._news = threading.Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._begin = 0

    # ── Its life ──────────────────────────────────────────────────────────────────────────────────

    def start(self) -> "Service":
        """Start it and wait until it listens, each time on the same port."""
        self.launch()
        return self.started()

    def started(self) -> "Service":
        """Wait until what was launched listens."""
        self.wait_for_log("listening", service=self._name)
        return self

    def launch(self) -> subprocess.Popen[bytes]:
        """Start the process and wait for nothing."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._begin = len(self.lines)
        with self._stderr.open("ab") as stderr:
            self._process = process = subprocess.Popen(
                [COMMAND, self.command],
                env={"PATH": os.environ["PATH"], "HOME": str(self.data_dir), **self.settings},
                cwd=self.data_dir,  # no .env of a developer's
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # so that a test can press Ctrl-C for it
            )
        assert process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()
        return process

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = WAIT_SECONDS_MAX) -> int:
        """The exit code."""
        if self.is_alive:
            self.process.send_signal(how)
        return self.ended(timeout)

    def ended(self, timeout: float = WAIT_SECONDS_MAX) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(timeout)
        assert self._reader is not None
        self._reader.join(timeout)
        return code

    def kill(self) -> None:
        """kill -9: only the service; its PostgreSQL lives on."""
        self.stop(signal.SIGKILL)

    def clean_up(self) -> None:
        """Leave no process behind, whatever the test did."""
        if self.is_alive:
            self.process.send_signal(signal.SIGCONT)
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        for pid in running_on(self.cluster):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # ── What it says ──────────────────────────────────────────────────────────────────────────────

    @property
    def log(self) -> list[dict[str, Any]]:
        with self._news:
            return [json.loads(line) for line in self.lines]

    @property
    def said(self) -> str:
        """What it wrote to the standard error stream, in all its lives."""
        return self._stderr.read_text()

    def wait_for_log(
        self, event: str, timeout: float = START_SECONDS_MAX, **facts: Any
    ) -> dict[str, Any]:
        """The first such line of this life of the service."""
        deadline = time.monotonic() + timeout
        at = self._begin
        with self._news:
            while True:
                for line in self.lines[at:]:
                    entry: dict[str, Any] = json.loads(line)
                    if entry["event"] == event and facts.items() <= entry.items():
                        return entry
                at = len(self.lines)
                assert self._reader is not None
                if not self._reader.is_alive() and at == len(self.lines):
                    raise AssertionError(f"it ended without {event}: {self.lines[-5:]} {self.said}")
                if not self._news.wait(min(0.5, deadline - time.monotonic())) and (
                    time.monotonic() > deadline
                ):
                    raise AssertionError(f"no {event} {facts} in its log: {self.lines[-5:]}")

    def check_log(self) -> None:
        """What is new in the log is JSON, and has no stack, no unexpected error, no secret."""
        with self._news:
            new = self.lines[self._checked :]
            self._checked = len(self.lines)
        for line in new:
            entry = json.loads(line)
            expected = entry["event"] in self.expected
            assert expected or entry["level"] not in ("error", "critical"), line
            assert expected or ("exception" not in entry and "Traceback" not in line), line
            assert not any(secret in line for secret in NEVER_LOGGED), line
            assert '"locals"' not in line, line  # a stack shows where, not with what

    def _read(self, stdout: IO[bytes]) -> None:
        with stdout:
            for line in stdout:
                if not line.endswith(b"\n"):
                    break  # cut short by kill -9
                with self._news:
                    self.lines.append(line.decode().rstrip("\n"))
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    @property
    def _stderr(self) -> Path:
        return self.data_dir / "stderr.txt"

    # ── Talking to it ─────────────────────────────────────────────────────────────────────────────

    @property
    def url(self) -> str:
        return str(self.wait_for_log("listening", service=self._name)["url"])

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def provider_url(self) -> str:
        return str(self.wait_for_log("listening", service="silvergate simulator")["url"])

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def connections(self, count: int) -> httpx.AsyncClient:
        """For requests at once: each of them has a connection of its own."""
        limits = httpx.Limits(max_connections=count, max_keepalive_connections=count)
        return httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False, limits=limits)

    def provider(self) -> httpx.Client:
        """The simulated provider: its faults, calls and effects."""
        return httpx.Client(base_url=self.provider_url, timeout=30, trust_env=False)

    def exchange(self, sent: bytes, timeout: float = 30) -> bytes:
        """Bytes as they are, on a connection of their own; what comes back until it closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(sent)
            return read_all(connection)

    # ── Looking into it ───────────────────────────────────────────────────────────────────────────

    @property
    def cluster(self) -> Path:
        return (self.data_dir / "postgres").resolve()

    @property
    def postmaster(self) -> int:
        pid = postmaster_pid(self.cluster)
        assert pid in running_on(self.cluster)
        return pid

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        url = running_url(self.data_dir)
        assert url is not None
        with psycopg.connect(url, autocommit=True) as connection:
            return connection.execute(statement.encode(), parameters or None).fetchall()

    def verify(self) -> None:
        """The command, beside the running service: it finds nothing."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.data_dir), **self.settings}
        done = subprocess.run(
            [COMMAND, "verify"],
            env=environment,
            cwd=self.data_dir,
            capture_output=True,
            text=True,
            timeout=2 * WAIT_SECONDS_MAX,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert " 0 findings" in done.stdout, done.stdout

    @property
    def rss_kib(self) -> int:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS: not Linux?")


def read_all(connection: socket.socket) -> bytes:
    """Until the peer closes, resets, or says nothing for the socket's time-out."""
    received = b""
    with suppress(TimeoutError, ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    return received


def eventually(
    look: Callable[[], Any], timeout: float = WAIT_SECONDS_MAX, every: float = 0.05
) -> Any:
    """What `look` finds, as soon as it is true; for what only another process knows."""
    deadline = time.monotonic() + timeout
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {timeout} s; the last look gave {found!r}"
        time.sleep(every)
    return found
