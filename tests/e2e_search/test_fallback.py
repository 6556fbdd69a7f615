"""OpenSearch comes and goes: the same questions have the same answers, from whoever can answer.

How to think about it: what an answer should be is asked of PostgreSQL by SQL of the test's own.
`source` says who answered, and `as_of` how much is in it at least; both are held to their words.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from infra.opensearch_server import OpenSearchServer
from payment_manager.adapters.clock import UUIDv7s
from tests.e2e.service import eventually
from tests.e2e.wire import CHARGEBACKS, ORDERS, send
from tests.e2e_search.searched import Searched
from tests.opensearch import IndexNames
from tests.webhooks import chargeback_webhook, order_webhook

HANGS_SECONDS_MAX = 2.0 + 2.0
"""A source's two seconds; and a busy machine."""

AT_ONCE_SECONDS = 1.5
"""Some milliseconds; and a busy machine."""

BACK_SECONDS_MAX = 30.0
"""The service leaves a server that failed alone for five seconds; a node starts in two to ten."""

ORDERED = "created_at DESC, event_id DESC"
EVENTS = (
    f"SELECT event_id::text FROM (SELECT event_id, created_at FROM order_events UNION ALL"
    f" SELECT event_id, created_at FROM dispute_events) AS both_logs ORDER BY {ORDERED}"
)
DISPUTES = "SELECT dispute_id::text FROM disputes ORDER BY first_event_at DESC, dispute_id DESC"

_numbers = count(1)


@pytest.fixture(scope="module")
def searched(
    node: OpenSearchServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Searched]:
    searched = Searched(tmp_path_factory.mktemp("fallback"), node, IndexNames.under("fallback"))
    try:
        searched.start()
        yield searched
        searched.stop()
    finally:
        searched.clean_up()


def post(searched: Searched, path: str, body: bytes) -> None:
    with searched.api.client() as client:
        assert send(client, path, body).status_code == 202


def pages(searched: Searched, path: str, limit: int) -> Iterator[tuple[str, list[Any]]]:
    """Who answered, and what: page by page."""
    cursor = ""
    while True:
        page = searched.get(path, limit=limit, **({"cursor": cursor} if cursor else {}))
        yield page["source"], page["items"]
        cursor = page["next_cursor"]
        assert page["has_more"] is (cursor != "")
        if not cursor:
            return


def answers_from(searched: Searched, source: str) -> None:
    """Returns when it does."""
    eventually(
        lambda: searched.get("/search/events", limit=1)["source"] == source, BACK_SECONDS_MAX
    )


async def test_a_walk_goes_on_without_opensearch_and_goes_back_to_it(searched: Searched) -> None:
    load = searched.load(per_second=300)
    async with load.flowing():
        await load.more(200)
    searched.caught_up()
    answers_from(searched, "opensearch")
    expected = {"/search/events": EVENTS, "/search/disputes": DISPUTES}
    wanted = {path: [id for (id,) in searched.api.query(sql)] for path, sql in expected.items()}
    found: dict[str, list[str]] = {path: [] for path in expected}
    walks = {path: pages(searched, path, len(ids) // 9) for path, ids in wanted.items()}
    id_of = {"/search/events": "event_id", "/search/disputes": "dispute_id"}

    def walk(pages_max: int) -> set[str]:
        sources = set()
        for path, walk in walks.items():
            for _, (source, items) in zip(range(pages_max), walk, strict=False):
                sources.add(source)
                found[path] += (item[id_of[path]] for item in items)
        return sources

    assert walk(2) == {"opensearch"}
    searched.node.kill()
    try:
        assert walk(2) == {"postgres"}
    finally:
        searched.node.start()
    answers_from(searched, "opensearch")
    assert walk(1000) == {"opensearch"}
    assert found == wanted


def test_a_server_that_hangs_costs_the_first_question_two_seconds_and_changes_no_answer(
    searched: Searched,
) -> None:
    order_id = "hangs"
    post(searched, ORDERS, order_webhook(order_id))
    post(searched, CHARGEBACKS, chargeback_webhook(order_id, amount=7, currency="JPY", reason="ü"))
    searched.caught_up()
    answers_from(searched, "opensearch")
    by_opensearch = ask_everything(searched)
    searched.node.pause()
    try:
        began = time.monotonic()
        assert searched.get("/search/events")["source"] == "postgres"
        assert time.monotonic() - began < HANGS_SECONDS_MAX

        by_postgres, slowest = ask_everything(searched), 0.0
        post(searched, ORDERS, order_webhook(order_id, "updated", 1))
        ((event_id,),) = searched.api.query(
            "SELECT event_id::text FROM order_events WHERE order_id = %s AND sequence = 2", order_id
        )
        for _ in range(3):
            began = time.monotonic()
            answer = searched.get("/search/events", q=order_id, limit=1, wait_for=event_id)
            slowest = max(slowest, time.monotonic() - began)
            # What OpenSearch has not is there, and is said to be.
            assert answer["wait_for"] == {"event_id": event_id, "visible": True}
            assert [item["event_id"] for item in answer["items"]] == [event_id]
        assert slowest < AT_ONCE_SECONDS
    finally:
        searched.node.resume()
    assert {source for source, _ in by_opensearch} == {"opensearch"}
    assert {source for source, _ in by_postgres} == {"postgres"}
    assert [answer for _, answer in by_opensearch] == [answer for _, answer in by_postgres]
    answers_from(searched, "opensearch")
    searched.caught_up()


def ask_everything(searched: Searched) -> list[tuple[str, Any]]:
    """Who answered, and what it is but for its age."""
    window = {"time_from": "2026-01-01T00:00:00Z", "time_to": "2026-03-01T00:00:00Z"}
    questions: list[tuple[str, dict[str, Any]]] = [
        ("/search/disputes", {"limit": 3}),
        ("/search/disputes", {"limit": 3, "status": "won", "q": "load*"}),
        ("/search/events", {"limit": 3, "q": "fraud", "kinds": "provider_decision"}),
        ("/analytics/orders", {"interval": "day", **window}),
    ]
    for interval in ("day", "week", "month"):
        questions.append(("/analytics/disputes", {"interval": interval, **window}))
    answers = [searched.get(path, **asked) for path, asked in questions]
    for answer in answers:
        del answer["as_of"]
    return [(answer.pop("source"), answer) for answer in answers]


async def test_an_answer_has_all_that_its_as_of_says(searched: Searched) -> None:
    """While much else comes in, and asked at once: whether there or not, it is as it says."""
    answers_from(searched, "opensearch")
    load = searched.load(per_second=150)
    sources = set()
    async with load.flowing():
        for _ in range(6):
            sources |= await asyncio.to_thread(_write_and_ask, searched)
    assert load.wrong == []
    assert sources == {"opensearch"}


def _write_and_ask(searched: Searched) -> set[str]:
    order_id = f"asked-{next(_numbers)}"
    post(searched, ORDERS, order_webhook(order_id))
    post(searched, CHARGEBACKS, chargeback_webhook(order_id))
    written_at = datetime.now(UTC)
    ((order_event, order_position, dispute_event, dispute_position),) = searched.api.query(
        "SELECT o.event_id::text, o.position, d.event_id::text, d.position FROM order_events AS o"
        " JOIN disputes USING (order_id) JOIN dispute_events AS d USING (dispute_id)"
        " WHERE o.order_id = %s",
        order_id,
    )
    sources = set()
    for wait_for in (None, dispute_event):
        asked = {"order_ids": order_id, **({"wait_for": wait_for} if wait_for else {})}
        answer = searched.get("/search/events", **asked)
        found, as_of = {item["event_id"] for item in answer["items"]}, answer["as_of"]
        has_all = datetime.fromisoformat(as_of["time"]) >= written_at
        if has_all or as_of["position"]["orders"] >= order_position:
            assert order_event in found
        if has_all or as_of["position"]["disputes"] >= dispute_position:
            assert dispute_event in found
        sources.add(answer["source"])
        if wait_for:
            assert answer["wait_for"] == {"event_id": dispute_event, "visible": True}
            assert found == {order_event, dispute_event}
    disputes = searched.get("/search/disputes", order_ids=order_id, wait_for=dispute_event)
    assert [item["order_id"] for item in disputes["items"]] == [order_id]
    assert disputes["total"] == 1
    return sources


def test_an_event_that_never_comes_is_waited_for_and_no_longer(searched: Searched) -> None:
    answers_from(searched, "opensearch")
    post(searched, ORDERS, order_webhook("another"))
    searched.caught_up()
    nobody = str(UUIDv7s().next())
    began = time.monotonic()
    answer = searched.get("/search/events", limit=1, wait_for=nobody)
    assert 4.5 < time.monotonic() - began < 8
    assert answer["wait_for"] == {"event_id": nobody, "visible": False}
    assert len(answer["items"]) == 1
