"""OpenSearch in tests and local runs: durable over crashes, one address for life, no orphan."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.opensearch_server import OpenSearchServer, OpenSearchServerError, is_settled
from payment_manager.settings import Settings, load
from tests.infra.test_kafka_server import runs
from tests.opensearch import IndexNames


def ask(server: OpenSearchServer, method: str, path: str, body: Any = None) -> Any:
    answer = httpx.request(method, server.url + path, json=body, trust_env=False, timeout=60)
    answer.raise_for_status()
    return answer.json()


def write(server: OpenSearchServer, index: str, document_id: str) -> None:
    ask(server, "PUT", f"/{index}/_doc/{document_id}", {"id": document_id})


def ids(server: OpenSearchServer, index: str) -> list[str]:
    ask(server, "POST", f"/{index}/_refresh")
    hits = ask(server, "POST", f"/{index}/_search", {"sort": ["id.keyword"]})["hits"]["hits"]
    return [hit["_id"] for hit in hits]


def test_what_was_acknowledged_is_still_there_after_kill_9_on_the_same_port(
    frail_opensearch: OpenSearchServer,
) -> None:
    server, url = frail_opensearch, frail_opensearch.url
    write(server, "kept", "one")
    write(server, "kept", "two")

    server.kill()
    assert not server.is_alive
    server.start()

    assert server.url == url
    assert ids(server, "kept") == ["one", "two"]


def test_stopping_and_starting_again_changes_nothing_when_done_twice(
    frail_opensearch: OpenSearchServer,
) -> None:
    server = frail_opensearch
    pid = server.pid
    assert server.start().pid == pid
    write(server, "stopped", "one")

    server.stop()
    server.stop()
    assert not server.is_alive

    server.start()
    assert ids(server, "stopped") == ["one"]


def test_a_paused_node_is_alive_and_silent_and_goes_on_where_it_was(
    frail_opensearch: OpenSearchServer,
) -> None:
    server = frail_opensearch
    write(server, "paused", "one")
    server.pause()
    assert server.is_alive
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(server.url, trust_env=False, timeout=0.3)

    server.resume()

    assert ids(server, "paused") == ["one"]


def test_a_paused_node_can_be_stopped(frail_opensearch: OpenSearchServer) -> None:
    frail_opensearch.pause()
    frail_opensearch.stop()
    assert not frail_opensearch.is_alive


def test_a_taken_port_is_told_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        server = OpenSearchServer(tmp_path, port)
        with pytest.raises(OpenSearchServerError, match=f"port {port} is taken"):
            server.start()
    assert not server.is_alive


def test_a_start_that_fails_tells_the_end_of_its_log(
    frail_opensearch: OpenSearchServer,
) -> None:
    # Two nodes can't own one folder: OpenSearch itself locks it.
    second = OpenSearchServer(frail_opensearch.log.parent)
    with pytest.raises(OpenSearchServerError, match=r"(?s)exit code 1.*lock"):
        second.start()
    assert not second.is_alive
    assert ask(frail_opensearch, "GET", "/")["version"]["number"] == "3.8.0"


OWNER = """
import sys, time
from pathlib import Path
from infra.opensearch_server import OpenSearchServer
print(OpenSearchServer(Path(sys.argv[1])).start().pid, flush=True)
time.sleep(600)
"""


def test_a_node_goes_when_its_owner_is_killed(
    tmp_path: Path, frail_opensearch: OpenSearchServer
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        node = int(owner.stdout.readline())
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while runs(node) and time.monotonic() < deadline:
        time.sleep(0.02)  # it isn't our child: no event tells of its end
    assert not runs(node)


def test_a_test_has_index_names_that_the_service_takes(index_names: IndexNames) -> None:
    given: dict[str, Any] = {name.lower(): value for name, value in index_names.environment.items()}
    settings = load(Settings, **given)
    assert {name: getattr(settings, name) for name in given} == given


@pytest.mark.parametrize(
    ("unassigned", "under_way", "settled"),
    [
        (20, {"initializing_shards": 4}, False),
        (20, {"number_of_pending_tasks": 1}, False),
        (20, {"number_of_in_flight_fetch": 1}, False),
        (0, {}, False),  # it has not read yet which indices it has
        (1, {}, True),  # that one is lost
    ],
)
def test_a_start_is_not_over_while_an_index_may_still_come(
    unassigned: int, under_way: dict[str, int], settled: bool
) -> None:
    counts = ("initializing_shards", "number_of_in_flight_fetch", "number_of_pending_tasks")
    health = {"unassigned_shards": unassigned, **dict.fromkeys(counts, 0), **under_way}
    assert is_settled(health) is settled
