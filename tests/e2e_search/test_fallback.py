"""OpenSearch comes and goes: the same questions have the same answers, from whoever can answer.

How to think about it: what an answer should be is asked of PostgreSQL by SQL of the test's own.
`source` says who answered, and `as_of` how much is in it at least; both are held to their words.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import chain, count, pairwise, repeat
from typing import Any

import pytest

from infra.opensearch_server import OpenSearchServer
from payment_manager.adapters.clock import UUIDv7s
from payment_manager.application.search import LEFT_ALONE
from tests.e2e.service import eventually
from tests.e2e.wire import CHARGEBACKS, ORDERS
from tests.e2e_search.searched import Searched
from tests.opensearch import SECONDS_MAX, IndexNames
from tests.webhooks import chargeback_webhook, order_webhook

HANGS_SECONDS_MAX = 2.0 + 10.0
"""A source's two seconds; and a busy machine. Who waited for the server would wait for ever."""

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


def answered_by(source: str, searched: Searched, path: str, **asked: Any) -> Any:
    """Its answer. It is asked again where another one answered: of OpenSearch a busy machine needs
    more than two seconds now and then, and is left alone for five.
    """

    def answer() -> Any:
        found = searched.get(path, **asked)
        return found if found["source"] == source else None

    return eventually(answer, SECONDS_MAX)


def pages(searched: Searched, path: str, limit: int, sources: Iterable[str]) -> Iterator[list[Any]]:
    """Page by page, each from the next of these."""
    cursor = ""
    for source in sources:
        asked = {"limit": limit, **({"cursor": cursor} if cursor else {})}
        page = answered_by(source, searched, path, **asked)
        yield page["items"]
        cursor = page["next_cursor"]
        assert page["has_more"] is (cursor != "")
        if not cursor:
            return


async def test_a_walk_goes_on_without_opensearch_and_goes_back_to_it(searched: Searched) -> None:
    load = searched.load(per_second=300)
    async with load.flowing():
        await load.more(200)
    searched.caught_up()
    expected = {"/search/events": EVENTS, "/search/disputes": DISPUTES}
    wanted = {path: [id for (id,) in searched.api.query(sql)] for path, sql in expected.items()}
    found: dict[str, list[str]] = {path: [] for path in expected}
    walks = {
        path: pages(
            searched,
            path,
            len(ids) // 9,
            chain(repeat("opensearch", 2), repeat("postgres", 2), repeat("opensearch")),
        )
        for path, ids in wanted.items()
    }
    id_of = {"/search/events": "event_id", "/search/disputes": "dispute_id"}

    def walk(pages_max: int) -> None:
        for path, walk in walks.items():
            for _, items in zip(range(pages_max), walk, strict=False):
                found[path] += (item[id_of[path]] for item in items)

    walk(2)
    searched.node.kill()
    try:
        walk(2)
        assert found != wanted
    finally:
        searched.node.start()
    walk(1000)
    assert found == wanted


def test_a_server_that_hangs_costs_the_first_question_two_seconds_and_changes_no_answer(
    searched: Searched,
) -> None:
    order_id = "hangs"
    searched.post(ORDERS, order_webhook(order_id))
    searched.post(CHARGEBACKS, chargeback_webhook(order_id, amount=7, currency="JPY", reason="ü"))
    searched.caught_up()
    by_opensearch = ask_everything(searched, "opensearch")
    logged = len(searched.api.log)
    searched.node.pause()
    try:
        began = time.monotonic()
        assert searched.get("/search/events")["source"] == "postgres"
        assert time.monotonic() - began < HANGS_SECONDS_MAX

        # A page of PostgreSQL's is short where it was slow.
        eventually(lambda: ask_everything(searched, "postgres") == by_opensearch, SECONDS_MAX)
        searched.post(ORDERS, order_webhook(order_id, "updated", 1))
        ((event_id,),) = searched.api.query(
            "SELECT event_id::text FROM order_events WHERE order_id = %s AND sequence = 2", order_id
        )
        for _ in range(3):
            answer = searched.get("/search/events", q=order_id, limit=1, wait_for=event_id)
            # What OpenSearch has not is there, and is said to be.
            assert answer["wait_for"] == {"event_id": event_id, "visible": True}
            assert [item["event_id"] for item in answer["items"]] == [event_id]
    finally:
        searched.node.resume()
    # All others were answered at once: they were put while OpenSearch was left alone.
    failed_at = [
        datetime.fromisoformat(line["time"])
        for line in searched.api.log[logged:]
        if line["event"] == "search_source_failed"
    ]
    assert failed_at
    assert all(later - earlier >= LEFT_ALONE for earlier, later in pairwise(failed_at))
    answered_by("opensearch", searched, "/search/events", limit=1)
    searched.caught_up()


def ask_everything(searched: Searched, source: str) -> list[Any]:
    """What it answers, but for its age."""
    window = {"time_from": "2026-01-01T00:00:00Z", "time_to": "2026-03-01T00:00:00Z"}
    questions: list[tuple[str, dict[str, Any]]] = [
        ("/search/disputes", {"limit": 3}),
        ("/search/disputes", {"limit": 3, "status": "won", "q": "load*"}),
        ("/search/events", {"limit": 3, "q": "fraud", "kinds": "provider_decision"}),
        ("/analytics/orders", {"interval": "day", **window}),
    ]
    for interval in ("day", "week", "month"):
        questions.append(("/analytics/disputes", {"interval": interval, **window}))
    answers = [answered_by(source, searched, path, **asked) for path, asked in questions]
    for answer in answers:
        del answer["as_of"], answer["source"]
    return answers


async def test_an_answer_has_all_that_its_as_of_says(searched: Searched) -> None:
    """While much else comes in, and asked at once: whether there or not, it is as it says."""
    load = searched.load(per_second=150)
    by_opensearch = 0
    async with load.flowing(), asyncio.timeout(2 * SECONDS_MAX):
        while by_opensearch < 6:
            by_opensearch += await asyncio.to_thread(_write_and_ask, searched) == {"opensearch"}
    assert load.wrong == []


def _write_and_ask(searched: Searched) -> set[str]:
    """Who answered."""
    order_id = f"asked-{next(_numbers)}"
    searched.post(ORDERS, order_webhook(order_id))
    searched.post(CHARGEBACKS, chargeback_webhook(order_id))
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
        if wait_for and answer["wait_for"]["visible"]:
            assert found == {order_event, dispute_event}

    def waited_for() -> Any:
        """Once it is visible: a busy machine may need more than the five seconds of a question."""
        found = searched.get("/search/disputes", order_ids=order_id, wait_for=dispute_event)
        return found if found["wait_for"]["visible"] else None

    disputes = eventually(waited_for, SECONDS_MAX)
    assert disputes["wait_for"] == {"event_id": dispute_event, "visible": True}
    assert [item["order_id"] for item in disputes["items"]] == [order_id]
    assert disputes["total"] == 1
    return sources


def test_an_event_that_never_comes_is_waited_for_and_no_longer(searched: Searched) -> None:
    searched.post(ORDERS, order_webhook("another"))
    searched.caught_up()
    nobody = str(UUIDv7s().next())
    began = time.monotonic()
    answer = searched.get("/search/events", limit=1, wait_for=nobody)
    assert 4.5 < time.monotonic() - began < 5 + HANGS_SECONDS_MAX
    assert answer["wait_for"] == {"event_id": nobody, "visible": False}
    assert len(answer["items"]) == 1
