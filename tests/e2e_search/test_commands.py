"""`payment-manager search …` beside a running service."""

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from infra.opensearch_server import OpenSearchServer
from tests.e2e.service import eventually
from tests.e2e.wire import CHARGEBACKS, ORDERS
from tests.e2e_search.searched import COMMAND_SECONDS_MAX, Searched
from tests.opensearch import IndexNames
from tests.webhooks import chargeback_webhook, order_webhook

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def searched(
    node: OpenSearchServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Searched]:
    """Some orders, each with a dispute, in search; the tests leave it whole."""
    searched = Searched(
        tmp_path_factory.mktemp("search"), node, IndexNames.under("commands")
    ).start()
    # Only then, so they are followed: who leads for the first time looks for dead builds before
    # that, and nobody else can build for this moment.
    searched.caught_up()
    for number in range(20):
        searched.post(ORDERS, order_webhook(f"ord-{number}"))
        searched.post(CHARGEBACKS, chargeback_webhook(f"ord-{number}"))
    searched.caught_up()
    yield searched
    searched.stop()
    searched.clean_up()


def answer(searched: Searched, *arguments: str, code: int = 0) -> Any:
    done = searched.command(*arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def status(searched: Searched, *arguments: str, says: str, **settings: str) -> Done:
    """Asked until it says so: it waits two seconds for OpenSearch, and a machine may be slower."""

    def told() -> Done | None:
        done = searched.command("status", *arguments, **settings)
        return done if says in done.stdout else None

    found: Done = eventually(told, COMMAND_SECONDS_MAX)
    return found


def test_status_says_who_answers_and_how_far_it_has_come(searched: Searched) -> None:
    searched.caught_up()

    told = json.loads(status(searched, "--json", says='"opensearch"').stdout)
    words = status(searched, says="answers: opensearch\n")

    [(build, orders, disputes)] = searched.api.query(
        "SELECT build, order_position, dispute_position FROM projections"
    )
    assert (told["source"], told["trouble"], told["build"]) == ("opensearch", None, build)
    assert told["checkpoint"]["position"] == {"orders": orders, "disputes": disputes}
    assert told["lag"] == {"events": 0, "seconds": 0.0}
    [(counted,)] = searched.api.query("SELECT count(*) FROM order_events")
    assert told["documents"]["order_events"] == counted
    assert (told["set_aside"], told["is_being_built"]) == (0, False)
    assert words.returncode == 0
    assert words.stdout.startswith(f"answers: opensearch\nbuild: {build}\n")
    assert "behind: 0 events, 0.0 s" in words.stdout


def test_verify_names_what_is_damaged_and_reindex_heals_it(searched: Searched) -> None:
    searched.caught_up()
    assert answer(searched, "verify")["differences"] == []
    [gone, changed] = [
        order_id
        for (order_id,) in searched.api.query("SELECT order_id FROM orders ORDER BY 1 LIMIT 2")
    ]
    with searched.asking_node() as client:
        orders = searched.names.orders
        client.delete(f"/{orders}/_doc/{gone}").raise_for_status()
        document = client.get(f"/{orders}/_doc/{changed}").json()
        at = f"version={document['_version']}&version_type=external_gte"
        other = {**document["_source"], "status": "failed!"}
        client.put(f"/{orders}/_doc/{changed}?{at}", json=other).raise_for_status()
        client.post(f"/{orders}/_refresh").raise_for_status()

    told = answer(searched, "verify", code=1)

    assert len(told["differences"]) == 3
    assert told["documents"]["orders"] == told["rows"]["orders"] - 1
    assert any(f"order {gone}: " in line for line in told["differences"])
    assert any(f"order {changed}: " in line for line in told["differences"])
    assert "failed!" not in json.dumps(told)
    words = searched.command("verify")
    assert words.returncode == 1
    assert f"order {gone}: " in words.stdout
    assert "3 differences" in words.stdout
    built = answer(searched, "reindex")
    assert searched.builds == {built["build"]}
    assert built["documents"] == told["rows"]
    assert answer(searched, "verify", "--sample", "100000")["differences"] == []


def test_two_builds_at_once_are_refused_in_words(searched: Searched) -> None:
    before = searched.builds
    first = searched.begin("reindex")
    # Not that there are two: it may be over before anybody has looked.
    eventually(lambda: searched.builds != before, COMMAND_SECONDS_MAX, every=0.01)
    second = searched.command("reindex")
    first.communicate(timeout=COMMAND_SECONDS_MAX)
    assert first.returncode == 0

    # Whoever came too late for that has built one more.
    assert second.returncode in (0, 1)
    if second.returncode:
        assert second.stderr.endswith(
            "search is being built by another process: wait for its end\n"
        )


def test_documents_that_are_set_aside_are_listed(searched: Searched) -> None:
    assert searched.command("set-aside").stdout == "no document is set aside\n"
    searched.api.query(
        "INSERT INTO projection_rejects SELECT build, 'order', 'odd\x1b[2J', 'mapper_parsing:"
        " too long', '2026-11-23T01:02:03Z' FROM projections WHERE name = 'search' RETURNING 1"
    )
    [told] = answer(searched, "set-aside")
    words = searched.command("set-aside")
    searched.api.query("DELETE FROM projection_rejects RETURNING 1")

    assert (told["document"], told["document_id"]) == ("order", "odd\x1b[2J")
    assert told["at"] == "2026-11-23T01:02:03.000Z"
    assert "odd\\x1b[2J" in words.stdout
    assert "\x1b" not in words.stdout


def test_without_opensearch_a_command_says_what_it_needs(searched: Searched) -> None:
    done = searched.command("status", OPENSEARCH_URLS="")

    assert (done.returncode, done.stdout) == (2, "")
    assert "OPENSEARCH_URLS: " in done.stderr
    assert "Traceback" not in done.stderr


def test_an_opensearch_that_is_away_is_told(searched: Searched) -> None:
    away = {"OPENSEARCH_URLS": "http://127.0.0.1:9"}

    told = status(searched, says="answers: postgres (no connection)\n", **away)
    reindex = searched.command("reindex", **away)
    verify = searched.command("verify", **away)

    assert told.returncode == 1
    assert (reindex.returncode, verify.returncode) == (2, 2)
    assert reindex.stderr.endswith(
        "search was not built, what was there before answers: no connection\n"
    )
    assert "no connection" in verify.stderr
