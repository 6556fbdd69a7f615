"""Both sources of search, asked the same: each says what is true, and so the same.

How to think about it: one history, made by the real write path and projected by the real one, is
asked about in every way there is; `Truth` knows the answers. Nothing here changes the history, so
one is enough for all tests.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg_pool import AsyncConnectionPool

from infra.opensearch_server import OpenSearchServer
from payment_manager.adapters.opensearch.connection import search_client
from payment_manager.adapters.opensearch.index import OpenSearchIndex
from payment_manager.adapters.opensearch.questions import OpenSearchSearch
from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.adapters.postgres.search.questions import PostgresSearch
from payment_manager.adapters.postgres.search.tail import PostgresEventTail
from payment_manager.adapters.postgres.search.whole_log import PostgresWholeLog
from payment_manager.application.ports import (
    AnalyticsAsked,
    DisputesSought,
    DisputeState,
    EventsSought,
    Interval,
    LoggedEvent,
    Place,
    SearchSource,
    Word,
)
from payment_manager.application.search import REASONS_MAX, dispute_analytics, first_of, moved
from payment_manager.application.search_terms import (
    AMOUNT_RANGES,
    dispute_words,
    event_words,
    query_words,
)
from tests.adapters import search_world
from tests.adapters.search_world import LONG_ID, REASONS, Truth
from tests.clock import FakeClock
from tests.conftest import clone
from tests.opensearch import SECONDS_MAX, TIMEOUT_SECONDS, IndexNames

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(TIMEOUT_SECONDS)]

Value = TypeVar("Value")
Row = LoggedEvent | DisputeState

ANY_TIME = AnalyticsAsked(
    Interval.MONTH, datetime(1970, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)
)


@dataclass(frozen=True, slots=True)
class Search:
    """One projected history, its sources by name, and what they ought to say."""

    truth: Truth = field(repr=False)
    sources: dict[str, SearchSource]


@pytest.fixture(scope="module", autouse=True)
def patient() -> Iterator[None]:
    with search_world.patience():
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def search(
    postgres_server: str, template_database: str, opensearch_server: OpenSearchServer
) -> AsyncIterator[Search]:
    names = IndexNames.under("sources")
    aliases = search_world.aliases(names)
    clock = FakeClock()
    async with (
        _database(postgres_server, template_database) as pool,
        search_client(opensearch_server.url, None, SECONDS_MAX) as client,
    ):
        await search_world.make(pool)
        index, tail = OpenSearchIndex(client, aliases, clock), PostgresEventTail(pool)
        truth = await search_world.project(PostgresWholeLog(pool), index)
        of_index = OpenSearchSearch(client, aliases, index, tail, clock)
        yield Search(truth, {"opensearch": of_index, "postgres": PostgresSearch(pool)})
        await client.indices.delete(index=f"{names.prefix}-*")


@asynccontextmanager
async def _database(server: str, template: str) -> AsyncIterator[AsyncConnectionPool]:
    with clone(server, template) as url:
        async with connection_pool(url, size_max=8) as pool:
            pool.timeout = SECONDS_MAX
            yield pool


@pytest.fixture(params=["opensearch", "postgres"])
def source(request: pytest.FixtureRequest, search: Search) -> SearchSource:
    return search.sources[request.param]


@pytest.fixture
def truth(search: Search) -> Truth:
    return search.truth


# ── Walks ─────────────────────────────────────────────────────────────────────────────────────────


async def pages(
    sources: Iterable[SearchSource], sought: EventsSought | DisputesSought, limit: int
) -> AsyncIterator[Sequence[Row]]:
    """Page by page, each from the next source."""
    after: Place | None = None
    for source in sources:
        rows: Sequence[Row]
        if isinstance(sought, EventsSought):
            found = await source.events(sought, after, limit)
            rows, after = found.events, found.next
        else:
            listed = await source.disputes(sought, after, limit)
            rows, after = listed.disputes, listed.next
        assert len(rows) <= limit
        yield rows
        if after is None:
            return


async def walk(
    source: SearchSource, sought: EventsSought | DisputesSought, limit: int = 1000
) -> list[Row]:
    return [row async for page in pages(itertools.repeat(source), sought, limit) for row in page]


async def test_a_walk_meets_every_event_once_newest_first(
    source: SearchSource, truth: Truth
) -> None:
    for limit in (1000, 61):
        assert await walk(source, EventsSought(), limit) == truth.logged


async def test_a_walk_meets_every_dispute_once_newest_recorded_first(
    source: SearchSource, truth: Truth
) -> None:
    for limit in (1000, len(truth.disputed), 3):
        assert await walk(source, DisputesSought(), limit) == truth.disputed


async def test_a_page_may_begin_behind_any_row(source: SearchSource, truth: Truth) -> None:
    """Many rows have one time, to the microsecond."""
    for number, event in list(enumerate(truth.logged))[::23]:
        found = await source.events(EventsSought(), (event.created_at, str(event.event_id)), 5)
        assert found.events == truth.logged[number + 1 : number + 6]
    for number, dispute in list(enumerate(truth.disputed))[::7]:
        place = (dispute.recorded_at, str(dispute.dispute_id))
        listed = await source.disputes(DisputesSought(), place, 5)
        assert listed.disputes == truth.disputed[number + 1 : number + 6]


async def test_a_place_where_no_row_is_has_the_same_rows_behind_it(
    source: SearchSource, truth: Truth
) -> None:
    middle = truth.logged[len(truth.logged) // 2].created_at
    later = [event for event in truth.logged if event.created_at <= middle]
    for time, id, expected in (
        (middle, f"{UUID(int=2**128 - 1)}", later),
        (middle + timedelta(microseconds=1), f"{UUID(int=0)}", later),
        (datetime(2100, 1, 1, tzinfo=UTC), f"{UUID(int=0)}", truth.logged),
        (datetime(1970, 1, 1, tzinfo=UTC), f"{UUID(int=0)}", []),
    ):
        found = await source.events(EventsSought(), (time, id), 20)
        assert found.events == expected[:20]


async def test_the_last_page_says_so(source: SearchSource, truth: Truth) -> None:
    everything = len(truth.disputed)
    for limit, is_last in ((everything, True), (everything + 1, True), (everything - 1, False)):
        found = await source.disputes(DisputesSought(), None, limit)
        assert (found.next is None) is is_last
    kinds = [truth.logged[0].kind]
    everything = len(truth.events(EventsSought(kinds=kinds)))
    for limit, is_last in ((everything, True), (everything + 1, True), (everything - 1, False)):
        assert (
            (await source.events(EventsSought(kinds=kinds), None, limit)).next is None
        ) is is_last


async def test_a_walk_may_change_its_source_at_every_page(search: Search) -> None:
    both = list(search.sources.values())
    for limit in (1, 50):
        for sources in (both, both[::-1]):
            sought = EventsSought(order_ids=["captured", "disputed", "decided", LONG_ID])
            turns = itertools.cycle(sources)
            found = [row async for page in pages(turns, sought, limit) for row in page]
            assert found == search.truth.events(sought)
    turns = itertools.cycle(both)
    listed = [row async for page in pages(turns, DisputesSought(), 11) for row in page]
    assert listed == search.truth.disputed


# ── What is found ─────────────────────────────────────────────────────────────────────────────────


async def test_an_orders_events_are_found_with_those_of_its_dispute(
    source: SearchSource, truth: Truth
) -> None:
    found = await walk(source, EventsSought(order_ids=["decided"]))
    kinds = [row.kind for row in found if isinstance(row, LoggedEvent)]
    assert sorted(kinds) == [
        *("provider_decision", "webhook_opened", "webhook_received", "webhook_rejected"),
    ]
    assert found == truth.events(EventsSought(order_ids=["decided"]))


@pytest.mark.parametrize(
    "typed",
    [
        *("decided", "DECIDED", "fraud", "straße", "strasse", "über", "i̇stanbul", "ıspanak"),
        *("σίσυφος", "ΣΊΣΥΦΟΣ", "мошенничество", "МОШЕННИЧЕСТВО", "欺诈", "احتيال", "ünî", "ﬁnal"),
        *("été", "e\u0301t\u00e9", "o'neill", "neill", "100.5", "100.50", "a-b", "c/d", "a_b"),
        *("seed1*", "seed1-00*", "fra*", "мош*", "odd-1*", "at-1", "lieferung münchen", "case-1"),
        *(
            "case-1 created",
            "not-there",
            "x" * 255,
            "x" * 254,
            "%_%x",
            "fraud not",
            "why 07",
            "ann",
        ),
        *("🙂", "🙂 fraud", "null", "usd", "jpy 100.50", "evidence", "delivered", "s-1", "k-2"),
    ],
)
async def test_words_find_the_same_events_and_disputes(
    source: SearchSource, truth: Truth, typed: str
) -> None:
    try:
        words = query_words(typed)
    except ValueError:
        return
    assert await walk(source, EventsSought(words=words)) == truth.events(EventsSought(words=words))
    disputes = DisputesSought(words=words)
    assert await walk(source, disputes) == truth.disputes(disputes)
    assert await source.facets(disputes) == truth.facets(disputes)


@pytest.mark.parametrize("reason", REASONS)
async def test_a_reason_is_found_as_it_was_written(
    source: SearchSource, truth: Truth, reason: str
) -> None:
    sought = DisputesSought(reasons=[reason.strip()])
    assert await walk(source, sought) == truth.disputes(sought)


async def test_facets_count_all_that_is_sought(source: SearchSource, truth: Truth) -> None:
    facets = await source.facets(DisputesSought())
    assert facets == truth.facets(DisputesSought())
    assert facets.total == len(truth.disputed)
    # With as many in all and the same at the end, the first are those whose names come first.
    assert len(facets.reasons) == REASONS_MAX < len({each.reason for each in truth.disputed})
    assert {*facets.amount_ranges} == {*AMOUNT_RANGES}


async def test_nothing_is_nothing(source: SearchSource) -> None:
    nowhere = DisputesSought(order_ids=["nowhere"])
    assert await walk(source, nowhere) == []
    facets = await source.facets(nowhere)
    assert (facets.total, facets.statuses, facets.reasons) == (0, {}, {})
    before = replace(ANY_TIME, time_to=ANY_TIME.time_from)
    assert list(await source.dispute_cells(before)) == []
    assert list(await source.order_cells(before)) == []


# ── What is counted ───────────────────────────────────────────────────────────────────────────────


async def assert_same_cells(source: SearchSource, truth: Truth, asked: AnalyticsAsked) -> None:
    cells, expected = await source.dispute_cells(asked), truth.dispute_cells(asked)
    assert in_order(each for each in cells if each.start) == in_order(
        each for each in expected if each.start
    )
    # Of the reasons, those that are shown are enough.
    assert dispute_analytics(asked, cells) == dispute_analytics(asked, expected)
    assert in_order(await source.order_cells(asked)) == in_order(truth.order_cells(asked))


def in_order(cells: Iterable[Value]) -> list[Value]:
    return sorted(cells, key=repr)


@pytest.mark.parametrize("interval", Interval)
async def test_cells_count_whole_intervals_of_all_time(
    source: SearchSource, truth: Truth, interval: Interval
) -> None:
    start, end = ANY_TIME.time_from, ANY_TIME.time_to
    whole = replace(
        ANY_TIME,
        interval=interval,
        time_from=first_of(interval, start),
        time_to=moved(interval, first_of(interval, end), 1),
    )
    await assert_same_cells(source, truth, whole)
    cells = [cell for cell in await source.dispute_cells(whole) if cell.start]
    opened = sum(cell.disputes for cell in cells if cell.what == "opened")
    assert opened == len(truth.disputed)
    orders = await source.order_cells(whole)
    assert sum(cell.orders for cell in orders) == len(truth.ordered)
    assert sum(cell.captured for cell in orders) > 0 < sum(cell.was_held for cell in orders)


async def test_sums_of_the_largest_amounts_are_exact(source: SearchSource, truth: Truth) -> None:
    for currency in ("USD", "JPY", "KWD", "CLF"):
        cells = await source.dispute_cells(replace(ANY_TIME, currencies=[currency]))
        opened = [cell for cell in cells if cell.start and cell.what == "opened"]
        exact = sum(each.amount_minor for each in truth.disputed if each.currency == currency)
        assert sum(cell.amount_minor for cell in opened) == exact
        assert exact >= 10**15 - 1


# ── Every other question ──────────────────────────────────────────────────────────────────────────

HYPOTHESIS = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # a smaller example is not worth a minute
    suppress_health_check=[HealthCheck.too_slow],
)
STATUSES = ("open", "under_review", "submitted", "won", "lost", "closed", "canceled")


def some(values: Iterable[Value], absent: Value) -> st.SearchStrategy[list[Value]]:
    """No such filter, mostly; else some that exist, and perhaps one that doesn't."""
    all_values = sorted({*values, absent}, key=str)
    picked = st.lists(st.sampled_from(all_values), min_size=1, max_size=3)
    return st.one_of(st.just([]), st.just([]), picked)


def times(found: Iterable[datetime]) -> st.SearchStrategy[datetime | None]:
    """None, or about when something happened."""
    moments = st.sampled_from(sorted({*found}))
    step = st.sampled_from([timedelta(microseconds=us) for us in (-1, 0, 1, 999, -1000)])
    return st.none() | st.builds(lambda time, by: time + by, moments, step)


@st.composite
def words(draw: st.DrawFn, texts: Sequence[Sequence[str]]) -> tuple[Word, ...]:
    """Some that stand in one row; perhaps cut to beginnings, perhaps with one that is nowhere."""
    if draw(st.booleans()):
        return ()
    row = draw(st.sampled_from(texts))
    found = draw(st.lists(st.sampled_from(row), min_size=1, max_size=3, unique=True))
    if draw(st.integers(0, 9)) == 0:
        found.append("nowhere")
    return tuple(
        Word(word[: draw(st.integers(3, len(word)))], True)
        if len(word) >= 3 and draw(st.booleans())
        else Word(word)
        for word in found
    )


def events_sought(truth: Truth) -> st.SearchStrategy[EventsSought]:
    logged = truth.logged
    return st.builds(
        EventsSought,
        words=words([event_words(event) for event in logged[::5]]),
        kinds=some([event.kind for event in logged], "no_such_kind"),
        order_ids=some([event.order_id for event in logged], "nowhere"),
        dispute_ids=some([event.dispute_id for event in logged if event.dispute_id], UUID(int=1)),
        time_from=times(event.created_at for event in logged),
        time_to=times(event.created_at for event in logged),
    )


def disputes_sought(truth: Truth) -> st.SearchStrategy[DisputesSought]:
    disputed = truth.disputed
    months = [f"{each.disputed_at:%Y-%m}" for each in disputed]
    return st.builds(
        DisputesSought,
        words=words([dispute_words(each) for each in disputed]),
        statuses=some(STATUSES, "no_such_status"),
        reasons=some([each.reason for each in disputed], "fra"),
        currencies=some([each.currency for each in disputed], "CHF"),
        months=some(months, "1999-12"),
        amount_ranges=some(AMOUNT_RANGES, "1000-"),
        order_ids=some([each.order_id for each in disputed], "nowhere"),
        time_from=times(each.disputed_at for each in disputed),
        time_to=times(each.disputed_at for each in disputed),
    )


async def for_any(
    strategy: st.SearchStrategy[Value], check: Callable[[Value], Awaitable[None]]
) -> None:
    """Hypothesis itself is not asynchronous: it gets a thread, and the checks stay here."""
    loop = asyncio.get_running_loop()

    @HYPOTHESIS
    @given(strategy)
    def ask(value: Value) -> None:
        future: Future[None] = asyncio.run_coroutine_threadsafe(_checked(check, value), loop)
        future.result()

    await asyncio.to_thread(ask)


async def _checked(check: Callable[[Value], Awaitable[None]], value: Value) -> None:
    await check(value)


async def test_any_question_about_events_is_answered_alike(search: Search) -> None:
    async def check(asked: tuple[EventsSought, int, float]) -> None:
        sought, limit, share = asked
        expected = search.truth.events(sought)
        # A few pages, wherever they begin.
        start = int(share * max(0, len(expected) - 3 * limit))
        for source in search.sources.values():
            found: list[LoggedEvent] = []
            after = _behind(expected, start)
            while len(found) < min(3 * limit, len(expected) - start):
                page = await source.events(sought, after, limit)
                found += page.events
                if (after := page.next) is None:
                    break
            assert found == expected[start : start + len(found)]
            assert after is not None or len(found) == len(expected) - start

    limits, shares = st.integers(1, 60), st.floats(0, 1)
    await for_any(st.tuples(events_sought(search.truth), limits, shares), check)


def _behind(rows: Sequence[LoggedEvent], number: int) -> Place | None:
    if number == 0:
        return None
    return rows[number - 1].created_at, str(rows[number - 1].event_id)


async def test_any_question_about_disputes_is_answered_alike(search: Search) -> None:
    async def check(asked: tuple[DisputesSought, int]) -> None:
        sought, limit = asked
        expected, counted = search.truth.disputes(sought), search.truth.facets(sought)
        for source in search.sources.values():
            assert await walk(source, sought, limit) == expected
            assert await source.facets(sought) == counted

    await for_any(st.tuples(disputes_sought(search.truth), st.integers(10, 100)), check)


async def test_any_analytics_are_answered_alike(search: Search) -> None:
    async def check(asked: AnalyticsAsked) -> None:
        for source in search.sources.values():
            await assert_same_cells(source, search.truth, asked)

    await for_any(analytics_asked(search.truth), check)


@st.composite
def analytics_asked(draw: st.DrawFn, truth: Truth) -> AnalyticsAsked:
    interval = draw(st.sampled_from(Interval))
    happened = {each.disputed_at for each in truth.disputed}
    happened |= {each.closed_at for each in truth.disputed if each.closed_at}
    start = first_of(interval, draw(st.sampled_from(sorted(happened))))
    return AnalyticsAsked(
        interval,
        start,
        moved(interval, start, draw(st.integers(0, 60))),
        reasons=draw(some([each.reason for each in truth.disputed], "nothing")),
        currencies=draw(some([each.currency for each in truth.disputed], "CHF")),
    )
