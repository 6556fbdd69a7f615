"""The ground that labs about search stand on: an OpenSearch and the service, both real processes.

How to think about it: the service is what a user starts, with search on; it is asked over HTTP, and
its commands are given as a user gives them. Both servers are thrown away at the end. Nothing here
is part of a pattern.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, STDOUT

import httpx
import psycopg

from infra.java import JarsMissing
from infra.leash import Leash
from infra.opensearch_server import OpenSearchServer, OpenSearchServerError, why_not
from payment_manager.adapters.postgres.embedded import running_url

PATIENCE_SECONDS = 120.0
"""Nothing that a lab waits for takes so long, unless it never comes."""

EVENTS = ("events-orders", "events-disputes")
"""The aliases over the events, as they are called by default."""

_PROGRAM = str(Path(sys.executable).with_name("payment-manager"))


@contextmanager
def opensearch() -> Iterator[OpenSearchServer]:
    """A node that is up. Where this machine has none, the lab ends here."""
    reason = why_not()
    if reason is not None:
        sys.exit(f"This lab starts a real OpenSearch, and this machine can't run one: {reason}")
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        try:
            with OpenSearchServer(Path(folder)) as server:
                yield server
        except (OpenSearchServerError, JarsMissing) as error:
            sys.exit(str(error))


@dataclass(frozen=True, slots=True)
class LabService:
    """The service, on a database of its own. `settings` are those that its commands need too."""

    url: str
    database_url: str
    settings: Mapping[str, str]
    folder: Path

    def command(self, *arguments: str) -> tuple[int, str]:
        """`payment-manager` with these arguments beside the service: its exit code, its output (in
        trouble, with what it logged).
        """
        done = subprocess.run(
            [_PROGRAM, *arguments],
            cwd=self.folder,
            env=_environment({**self.settings, "PG_URL": self.database_url}),
            stdin=DEVNULL,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout or done.stderr

    def events(self) -> int:
        """In the logs."""
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM order_events) + (SELECT count(*) FROM dispute_events)"
            ).fetchone()
        assert row is not None
        return int(row[0])


@contextmanager
def service(search: OpenSearchServer, **settings: str) -> Iterator[LabService]:
    """`payment-manager api` with search on, ready."""
    with tempfile.TemporaryDirectory(prefix="lab-") as name:
        folder = Path(name)
        given = {
            "DATA_DIR": name,
            "OPENSEARCH_URLS": search.url,
            "LOG_FORMAT": "json",
            "SILVERGATE_BASE_URL": "http://127.0.0.1:9",  # nobody asks the provider
            "COLUMNS": "100",
            **settings,
        }
        log = folder / "service.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [_PROGRAM, "api"],
                cwd=folder,
                env=_environment({**given, "PORT": "0"}),
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C is for the lab, which ends it
            )
        with Leash(process.pid, patience_seconds=10):
            try:
                url = _ready(process, log)
                database_url = running_url(folder)
                assert database_url is not None  # it is ready, so its database runs
                yield LabService(url, database_url, given, folder)
            finally:
                process.terminate()
                process.wait()


def documents(
    search: OpenSearchServer,
    indices: Sequence[str] = EVENTS,
    *,
    patience_seconds: float = PATIENCE_SECONDS,
) -> int:
    """That a search finds now."""
    target = f"{search.url}/{','.join(indices)}/_count?ignore_unavailable=true"
    answer = httpx.get(target, trust_env=False, timeout=patience_seconds)
    return int(answer.json()["count"])


def until(is_so: Callable[[], bool]) -> None:
    """Looks again and again."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError("this lab waits for something that never comes")
        time.sleep(0.05)


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    def listens() -> bool:
        if process.poll() is not None:
            sys.exit(f"The service did not start:\n{log.read_text()}")
        return _listening_at(log) is not None

    until(listens)
    url = _listening_at(log)
    assert url is not None
    until(lambda: httpx.get(f"{url}/health/ready", trust_env=False).status_code == 200)
    return url


def _listening_at(log: Path) -> str | None:
    for line in log.read_text().splitlines():
        if '"listening"' in line:
            return str(json.loads(line)["url"])
    return None


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    known = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**known, **settings}
