"""What OpenSearch's source says of itself, and what it makes of answers that make no sense."""

import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from aiohttp import web
from opensearchpy import AsyncOpenSearch
from psycopg_pool import AsyncConnectionPool

from infra.opensearch_server import OpenSearchServer
from payment_manager.adapters.opensearch import questions
from payment_manager.adapters.opensearch.connection import search_client
from payment_manager.adapters.opensearch.index import OpenSearchIndex
from payment_manager.adapters.opensearch.questions import OpenSearchSearch
from payment_manager.adapters.postgres.search.tail import PostgresEventTail
from payment_manager.adapters.postgres.search.whole_log import PostgresWholeLog
from payment_manager.application.ports import (
    AnalyticsAsked,
    DisputesSought,
    DisputeState,
    EventsSought,
    IndexTrouble,
    Interval,
    LoggedEvent,
    Place,
)
from tests.adapters import search_world
from tests.adapters.conftest import Query
from tests.adapters.world import World
from tests.clock import FakeClock, FakeEventIds
from tests.opensearch import SECONDS_MAX, TIMEOUT_SECONDS, IndexNames
from tests.search_faults import Fault, FaultyProxy, Passing, answers, resets, truncates
from tests.webhooks import chargeback_webhook, order_webhook

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)

Ask = Callable[[OpenSearchSearch], Awaitable[Any]]

ALL_TIME = AnalyticsAsked(
    Interval.MONTH, datetime(1970, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)
)

QUESTIONS: dict[str, Ask] = {
    "has_event": lambda source: source.has_event(FakeEventIds().next()),
    "events": lambda source: source.events(EventsSought(), None, 3),
    "disputes": lambda source: source.disputes(DisputesSought(), None, 3),
    "facets": lambda source: source.facets(DisputesSought()),
    "dispute_cells": lambda source: source.dispute_cells(ALL_TIME),
    "order_cells": lambda source: source.order_cells(ALL_TIME),
}


@pytest.fixture(autouse=True)
def patient() -> Iterator[None]:
    with search_world.patience():
        yield


@pytest_asyncio.fixture
async def proxy(opensearch_server: OpenSearchServer) -> AsyncIterator[FaultyProxy]:
    async with FaultyProxy(opensearch_server.url) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def client(proxy: FaultyProxy) -> AsyncIterator[AsyncOpenSearch]:
    async with search_client(proxy.url, None, SECONDS_MAX) as client:
        yield client


@pytest.fixture
def tail(pool: AsyncConnectionPool) -> PostgresEventTail:
    return PostgresEventTail(pool)


@pytest.fixture
def index(client: AsyncOpenSearch, index_names: IndexNames, clock: FakeClock) -> OpenSearchIndex:
    return OpenSearchIndex(client, search_world.aliases(index_names), clock)


@pytest.fixture
def new_source(
    client: AsyncOpenSearch,
    index_names: IndexNames,
    index: OpenSearchIndex,
    tail: PostgresEventTail,
    clock: FakeClock,
) -> Callable[[], OpenSearchSearch]:
    """One that remembers nothing."""
    names = search_world.aliases(index_names)
    return lambda: OpenSearchSearch(client, names, index, tail, clock)


# ── How fresh it is ───────────────────────────────────────────────────────────────────────────────


async def test_it_is_as_fresh_as_what_its_searches_see(
    pool: AsyncConnectionPool,
    query: Query,
    clock: FakeClock,
    tail: PostgresEventTail,
    index: OpenSearchIndex,
    new_source: Callable[[], OpenSearchSearch],
) -> None:
    # Ahead of PostgreSQL's own, by which a copy's freshness is told, whatever the hour is.
    clock.set(datetime.now(UTC) + timedelta(hours=1))
    source, world = new_source(), World(pool, clock)
    assert await source.as_of() is None
    await world.webhooks(order_webhook("a"), chargeback_webhook("a"))
    await search_world.project(PostgresWholeLog(pool), index)
    clock.advance(minutes=1)
    # Nothing waits: what was recorded up to now is in it.
    as_of = await source.as_of()
    assert as_of is not None
    assert (as_of.time, as_of.order_position, as_of.dispute_position) == (clock.now(), 1, 1)

    await world.webhooks(order_webhook("a", "updated", 1))
    ((event_id, recorded_at),) = await query(
        "SELECT event_id, created_at FROM order_events ORDER BY position DESC LIMIT 1"
    )
    before = await tail.checkpoint()
    assert before is not None
    stretch = await tail.after(before, 10)
    steps: list[Callable[[], Awaitable[Any]]] = [
        lambda: index.write(stretch.events, stretch.orders, stretch.disputes),
        index.refresh,
        lambda: tail.save(before, stretch.checkpoint, []),
    ]
    seen = []
    for step in steps:
        as_of = await source.as_of()
        assert as_of is not None
        assert as_of.time < recorded_at
        assert as_of.order_position == 1
        seen.append(await source.has_event(event_id))
        await step()
    # Also not when its own index shows it: the others may not show what it changed.
    assert seen == [False, False, False]
    assert await source.has_event(event_id)
    as_of = await source.as_of()
    assert as_of is not None
    assert as_of.time >= recorded_at
    assert (as_of.order_position, as_of.dispute_position) == (2, 1)


async def test_another_build_than_the_checkpoints_can_not_answer(
    pool: AsyncConnectionPool,
    clock: FakeClock,
    index: OpenSearchIndex,
    new_source: Callable[[], OpenSearchSearch],
) -> None:
    await World(pool, clock).webhooks(order_webhook("a"))
    await search_world.project(PostgresWholeLog(pool), index)
    assert await new_source().as_of() is not None
    await index.start_build("b2")
    await index.answer_from("b2")
    assert await new_source().as_of() is None


async def test_without_its_indices_it_can_not_answer(
    pool: AsyncConnectionPool,
    clock: FakeClock,
    client: AsyncOpenSearch,
    index: OpenSearchIndex,
    index_names: IndexNames,
    new_source: Callable[[], OpenSearchSearch],
) -> None:
    await World(pool, clock).webhooks(order_webhook("a"))
    await search_world.project(PostgresWholeLog(pool), index)
    source = new_source()
    assert await source.as_of() is not None
    await client.indices.delete(index=f"{index_names.prefix}-*")
    assert await new_source().as_of() is None
    # Who still takes the build for there says nothing wrong either.
    for ask in QUESTIONS.values():
        with pytest.raises(IndexTrouble):
            await ask(source)


async def test_which_build_answers_is_not_asked_for_each_question(
    pool: AsyncConnectionPool,
    clock: FakeClock,
    proxy: FaultyProxy,
    index: OpenSearchIndex,
    new_source: Callable[[], OpenSearchSearch],
) -> None:
    await World(pool, clock).webhooks(order_webhook("a"))
    await search_world.project(PostgresWholeLog(pool), index)
    source = new_source()
    began, asked = monotonic(), proxy.requests
    for _ in range(20):
        assert await source.as_of() is not None
    assert proxy.requests - asked <= 1 + (monotonic() - began)


# ── Answers that make no sense ────────────────────────────────────────────────────────────────────


@pytest_asyncio.fixture
async def source(
    pool: AsyncConnectionPool,
    clock: FakeClock,
    index: OpenSearchIndex,
    new_source: Callable[[], OpenSearchSearch],
) -> OpenSearchSearch:
    """With something to say to every question."""
    await World(pool, clock).make()
    await search_world.project(PostgresWholeLog(pool), index)
    return new_source()


BAD_ANSWERS = {
    "nothing": answers(200),
    "null": answers(200, b"null"),
    "no object": answers(200, b"[]"),
    "nothing in it": answers(200, b"{}"),
    "no JSON": answers(200, b"<html>welcome</html>", "text/html"),
    "cut off": answers(200, b'{"took":1,"timed_out":false,"_shards":{"fai'),
    "deep": answers(200, b'{"hits":' + b"[" * 100_000),
    "bad UTF-8": answers(200, b'{"hits":"\xff\xfe"}'),
    "400": answers(400, b'{"error":{"type":"parsing_exception","reason":"secret"},"status":400}'),
    "404": answers(404, b'{"error":{"type":"index_not_found_exception"},"status":404}'),
    "401": answers(401, b"no"),
    "429": answers(429, b"{}"),
    "500": answers(500, b'{"error":"x"}'),
    "503": answers(503, b""),
    "a reset": resets,
    "half an answer": truncates,
}


async def test_a_bad_answer_is_trouble_and_no_answer(
    source: OpenSearchSearch, proxy: FaultyProxy
) -> None:
    for (name, fault), ask in itertools.product(BAD_ANSWERS.items(), QUESTIONS.values()):
        proxy.fault = fault
        with pytest.raises(IndexTrouble) as trouble:
            await ask(source)
        assert "secret" not in str(trouble.value), name


async def test_an_answer_of_wrong_parts_is_trouble_or_an_answer(
    source: OpenSearchSearch, proxy: FaultyProxy
) -> None:
    """Each part of a real answer gone, or something else: never another error."""
    heard: list[Any] = []

    async def listen(_request: web.Request, _body: bytes, passing: Passing) -> web.StreamResponse:
        answer = await passing()
        assert isinstance(answer.body, bytes)
        heard.append(json.loads(answer.body))
        return answer

    for ask in QUESTIONS.values():
        proxy.fault = listen
        await ask(source)
        refused = 0
        for wrong in wrong_ones(heard.pop()):
            proxy.fault = answers(200, json.dumps(wrong).encode())
            try:
                await ask(source)
            except IndexTrouble:
                refused += 1
        assert refused > 30


WRONG: tuple[Any, ...] = (..., None, "x", -1, 1e300, [], {}, True)


def wrong_ones(answer: Any) -> Iterator[Any]:
    for path in paths(answer):
        for wrong in WRONG:
            copy = deepcopy(answer)
            *way, last = path
            part = copy
            for step in way:
                part = part[step]
            if wrong is ...:
                del part[last]
            else:
                part[last] = wrong
            yield copy


def paths(part: Any) -> Iterator[tuple[Any, ...]]:
    """To every part of it; of a list, into its first."""
    steps: Sequence[Any] = ()
    if isinstance(part, dict):
        steps = list(part)
    elif isinstance(part, list):
        steps = range(min(1, len(part)))
    for step in steps:
        yield (step,)
        yield from ((step, *rest) for rest in paths(part[step]))


PARTIAL: dict[str, Callable[[Any], None]] = {
    "cut off by time": lambda answer: answer.update(timed_out=True),
    "without a shard": lambda answer: answer["_shards"].update(failed=1),
    "at least so many": lambda answer: answer["hits"]["total"].update(relation="gte"),
    "counts that may be off": lambda answer: answer["aggregations"]["reasons"].update(
        doc_count_error_upper_bound=3
    ),
    "not all reasons could be told apart": lambda answer: answer["aggregations"]["reasons"].update(
        doc_count_error_upper_bound=-1
    ),
    "currencies left out": lambda answer: answer["aggregations"]["currencies"].update(
        sum_other_doc_count=1
    ),
}


async def test_what_is_not_exact_is_no_answer(source: OpenSearchSearch, proxy: FaultyProxy) -> None:
    facets = await source.facets(DisputesSought())
    for spoil in PARTIAL.values():
        proxy.fault = changed(spoil)
        with pytest.raises(IndexTrouble):
            await source.facets(DisputesSought())
    proxy.fault = None
    assert await source.facets(DisputesSought()) == facets


def changed(spoil: Callable[[Any], None]) -> Fault:
    async def fault(_request: web.Request, _body: bytes, passing: Passing) -> web.StreamResponse:
        answer = await passing()
        assert isinstance(answer.body, bytes)
        spoilt = json.loads(answer.body)
        spoil(spoilt)
        return web.json_response(spoilt)

    return fault


async def test_a_server_that_hangs_is_not_waited_for(
    source: OpenSearchSearch, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No longer than for any answer, which is less than what the client would wait."""
    monkeypatch.setattr(questions, "ANSWER_SECONDS_MAX", 0.5)
    proxy.fault = proxy.hangs
    began = monotonic()
    with pytest.raises(IndexTrouble):
        await source.facets(DisputesSought())
    assert monotonic() - began < SECONDS_MAX / 2


# ── Sums and sizes ────────────────────────────────────────────────────────────────────────────────


async def test_sums_of_thousands_of_the_largest_amounts_are_exact(
    index: OpenSearchIndex, new_source: Callable[[], OpenSearchSearch]
) -> None:
    """A double would be off by hundreds."""
    count, largest = 5_000, 10**15 - 1
    at = datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    disputes = [
        DisputeState(
            dispute_id=UUID(int=number), order_id=f"o-{number}", sequence=1, user_id=UUID(int=0),
            status="lost", reason="fraud", amount_minor=largest - number, currency="USD",
            opened_at=at, evidence_due_at=None, submitted_at=None, closed_at=at,
            submitting_id=None, disputed_at=at, recorded_at=at,
        )
        for number in range(count)
    ]  # fmt: skip
    await index.start_build("b1")
    await index.write([], [], disputes, build="b1")
    await index.refresh(build="b1")
    await index.answer_from("b1")
    cells = await new_source().dispute_cells(ALL_TIME)
    exact = sum(dispute.amount_minor for dispute in disputes)
    assert exact > 2**53
    january = datetime(2026, 1, 1, tzinfo=UTC)
    assert {tuple(cell) for cell in cells} == {
        (*place, what, "USD", count, exact)
        for what in ("opened", "lost")
        for place in ((january, None), (None, "fraud"))
    }


async def test_a_page_of_the_largest_payloads_comes_in_pieces(
    index: OpenSearchIndex, new_source: Callable[[], OpenSearchSearch]
) -> None:
    """It is short, and a walk meets all of them."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    data = json.dumps({"payload": {"meta": {}, "filler": "x" * 60_000}})
    events = [
        LoggedEvent(
            UUID(int=number), "o", None, number, "webhook_received", "p", data,
            at + timedelta(seconds=number // 7), "c", number,
        )
        for number in range(1, 250)
    ]  # fmt: skip
    await index.start_build("b1")
    for start in range(0, len(events), 12):
        await index.write(events[start : start + 12], [], [], build="b1")
    await index.refresh(build="b1")
    await index.answer_from("b1")
    source = new_source()
    place: Place | None = None
    found: list[LoggedEvent] = []
    pages: list[int] = []
    for _ in range(10):
        page = await source.events(EventsSought(), place, 1000)
        found += page.events
        pages.append(len(page.events))
        if (place := page.next) is None:
            break
    assert found == events[::-1]
    assert len(pages) > 1
