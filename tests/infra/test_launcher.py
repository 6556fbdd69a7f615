"""Everything on one machine: it comes up in order, goes down in order, and leaves nothing."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from infra import kafka_server, opensearch_server
from infra.local_server import free_port

SECONDS_MAX = 100.0
"""For whatever some seconds are enough for, on a machine that does nothing else."""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(400),  # each starts and stops all there is, one after the other
    *(
        pytest.mark.skipif(reason is not None, reason=f"no {name} on this machine: {reason}")
        for name, reason in (
            ("Kafka", kafka_server.why_not()),
            ("OpenSearch", opensearch_server.why_not()),
        )
    ),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc to look around"),
]

WEBHOOK = {
    "provider_event_id": "evt-1",
    "order_id": "ord-1",
    "user_id": "11111111-1111-1111-1111-111111111111",
    "status": "created",
    "created_at": "2026-01-02T10:00:00Z",
    "updated_at": "2026-01-02T10:00:00Z",
}

PORTS = ("PORT", "INGEST_PORT", "KAFKA_PORT", "SIMULATOR_PORT", "OPENSEARCH_PORT")


class Launched:
    """A launcher of this test's own, and all that it started."""

    def __init__(self, folder: Path) -> None:
        self.ports = {name: free_port() for name in PORTS}
        self.data_dir = folder / "data"
        # What the developer's own settings say must not matter.
        own = {key: value for key, value in os.environ.items() if "KAFKA" not in key}
        own |= {"PG_URL": "", "SILVERGATE_BASE_URL": "", "OPENSEARCH_URLS": ""}
        own |= {"PYTHONPATH": str(Path.cwd())}
        ports = {name: str(port) for name, port in self.ports.items()}
        self.environment = {**own, **ports, "DATA_DIR": str(self.data_dir)}
        self._folder = folder
        self._said: list[str] = []

    def start(self, *arguments: str) -> "Launched":
        self.process = subprocess.Popen(
            self._command(*(arguments or ["--local"])),
            env=self.environment,
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        is_up = threading.Event()
        self._reader = threading.Thread(target=self._read, args=[is_up])
        self._reader.start()
        assert is_up.wait(SECONDS_MAX), self.said
        return self

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A launcher's command that ends by itself."""
        return subprocess.run(
            self._command(*arguments),
            env=self.environment,
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait(self) -> int:
        exit_code = self.process.wait(SECONDS_MAX)
        self._reader.join(SECONDS_MAX)
        return exit_code

    @property
    def said(self) -> str:
        return "".join(self._said)

    def url(self, port: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}"

    def running(self, word: str = "") -> dict[int, str]:
        """Every live process that this test has caused, with its command line."""
        mark = f"DATA_DIR={self.data_dir}".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except (OSError, UnicodeDecodeError):
                continue  # gone meanwhile
        return {pid: line for pid, line in found.items() if word in line}

    def is_all_gone(self) -> bool:
        # They are not our children: no event tells of their end.
        return eventually(lambda: not self.running())

    def clean_up(self) -> None:
        for pid in self.running():
            with suppress(ProcessLookupError):  # ended by itself in this moment
                os.kill(pid, signal.SIGKILL)
        if hasattr(self, "process"):
            self.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "infra.launcher", *arguments]

    def _read(self, is_up: threading.Event) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.append(line)
            if "everything is up" in line:
                is_up.set()
        is_up.set()  # or will never be


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launched]:
    launched = Launched(tmp_path)
    yield launched
    launched.clean_up()


def eventually(ask: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + SECONDS_MAX
    while not (is_so := ask()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return is_so


def is_taken(http: httpx.Client, url: str) -> bool:
    """As a provider sends it: a busy machine's 503 is answered by sending it again."""
    return eventually(lambda: http.post(url, json=WEBHOOK).status_code == 202)


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=SECONDS_MAX) as client:
        yield client


def test_a_webhook_comes_through_and_all_stop_in_order_and_leave_nothing(
    launched: Launched, http: httpx.Client
) -> None:
    launched.start()
    assert is_taken(http, f"{launched.url('INGEST_PORT')}/webhooks/payments/orders")
    order = f"{launched.url('PORT')}/orders/ord-1"
    assert eventually(lambda: http.get(order).status_code == 200)

    launched.process.send_signal(signal.SIGINT)

    assert launched.wait() == 0
    assert re.search(r"(?s)ingest \| .*stopped.*api    \| .*stopped", launched.said)
    assert launched.is_all_gone(), launched.running()


def test_nothing_outlives_a_launcher_that_is_killed(launched: Launched) -> None:
    launched.start()
    assert {"java", "postgres"} <= {word for word in ("java", "postgres") if launched.running(word)}

    launched.process.kill()

    launched.wait()
    assert launched.is_all_gone(), launched.running()


def test_infrastructure_stays_in_the_background_until_it_is_stopped(launched: Launched) -> None:
    started = launched.run("start", "--local")
    assert started.returncode == 0, started.stdout
    assert f"export KAFKA_BROKERS=127.0.0.1:{launched.ports['KAFKA_PORT']}\n" in started.stdout
    assert f"export SILVERGATE_BASE_URL={launched.url('SIMULATOR_PORT')}\n" in started.stdout
    before = launched.running()

    assert launched.run("start", "--local").stdout == started.stdout
    assert launched.running() == before, "the second start found the first"

    assert launched.run("stop").stdout == "stopped\n"
    assert launched.is_all_gone(), launched.running()
    assert launched.run("stop").stdout == "nothing was running\n"


def test_a_server_that_dies_ends_all_is_named_and_is_not_taken_for_alive(
    launched: Launched,
) -> None:
    launched.run("start", "--local")
    (kafka,) = launched.running("kafka.Kafka")

    os.kill(kafka, signal.SIGKILL)

    assert launched.is_all_gone(), launched.running()
    assert "Kafka ended by itself" in (launched.data_dir / "infrastructure.log").read_text()
    assert launched.run("stop").stdout == "nothing was running\n"


def test_search_is_one_word_more_and_is_stopped_after_who_asks_it(
    launched: Launched, http: httpx.Client
) -> None:
    launched.start("search")
    orders = f"{launched.url('PORT')}/webhooks/payments/orders"
    assert is_taken(http, orders)
    assert f"search     {launched.url('OPENSEARCH_PORT')}\n" in launched.said

    def found_in_opensearch() -> bool:
        answer = http.get(f"{launched.url('PORT')}/search/events", params={"q": "ord-1"})
        said = answer.raise_for_status().json()
        return bool(said["source"] == "opensearch" and said["items"])

    assert eventually(found_in_opensearch)

    launched.process.send_signal(signal.SIGINT)

    assert launched.wait() == 0
    assert launched.is_all_gone(), launched.running()
    assert re.search(r"dev    \| .*stopped .*service=api", launched.said)


def test_search_that_dies_is_named_and_all_else_goes_on(
    launched: Launched, http: httpx.Client
) -> None:
    launched.start("search")
    (opensearch,) = launched.running("SingleNode")

    os.kill(opensearch, signal.SIGKILL)

    assert eventually(lambda: "OpenSearch ended by itself" in launched.said), launched.said
    api = launched.url("PORT")

    def is_ready_and_says_so() -> bool:
        ready = http.get(f"{api}/health/ready")
        return ready.is_success and "degraded" in ready.json()["checks"]["search"]

    assert eventually(is_ready_and_says_so)
    assert is_taken(http, f"{api}/webhooks/payments/orders")
    found = http.get(f"{api}/search/events", params={"q": "ord-1"}).raise_for_status().json()
    assert found["source"] == "postgres"
    assert found["items"]

    launched.process.send_signal(signal.SIGINT)

    assert launched.wait() == 0
    assert launched.is_all_gone(), launched.running()


def test_search_in_the_background_is_told_or_refused_never_left_out(
    launched: Launched, http: httpx.Client
) -> None:
    without = launched.run("start", "--local")
    assert "OPENSEARCH_URLS" not in without.stdout
    refused = launched.run("start", "--local", "--search")
    assert refused.returncode == 2
    assert "has no OpenSearch" in refused.stdout
    launched.run("stop")

    started = launched.run("start", "--local", "--search")

    assert f"export OPENSEARCH_URLS={launched.url('OPENSEARCH_PORT')}\n" in started.stdout
    assert http.get(launched.url("OPENSEARCH_PORT")).is_success
    launched.run("stop")
    assert launched.is_all_gone(), launched.running()


@pytest.mark.parametrize("port", PORTS)
def test_a_taken_port_is_told_in_plain_words_before_anything_starts(
    port: str, launched: Launched
) -> None:
    with socket.create_server(("127.0.0.1", launched.ports[port])):
        refused = launched.run("--local", "--search")
    assert refused.returncode == 2
    assert f"port {launched.ports[port]} for " in refused.stdout
    assert f"set {port} to another" in refused.stdout
    assert not launched.running()


def test_wrong_settings_are_all_named(launched: Launched) -> None:
    launched.environment |= {"KAFKA_PORT": "x", "LOG_LEVEL": "loud"}
    refused = launched.run("--local")
    assert refused.returncode == 2
    assert "KAFKA_PORT: " in refused.stdout
    assert "LOG_LEVEL: " in refused.stdout
