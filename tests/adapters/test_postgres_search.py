"""Search on PostgreSQL alone: the same words as in Python, pages that end in time, and bounds.

How to think about it: that its answers are right in general is the business of the suite that both
sources pass. Here is what only this source has: SQL that must have the idea of a word that Python
has, walks over a log that end before they have found enough, and a server that has other things to
do.
"""

import asyncio
import itertools
import random
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg import AsyncClientCursor
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.clock import UUIDv7s
from payment_manager.adapters.postgres.search import questions
from payment_manager.adapters.postgres.search.questions import PostgresSearch
from payment_manager.adapters.postgres.transactions import PostgresDatabase
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.apply_webhooks import ApplyWebhooks
from payment_manager.application.ports import (
    AnalyticsAsked,
    DisputesSought,
    DisputeState,
    EventsSought,
    Interval,
    LoggedEvent,
    Place,
    SearchSource,
    Unavailable,
    Word,
)
from payment_manager.application.search_terms import (
    dispute_words,
    event_words,
    matches,
    query_words,
)
from payment_manager.domain.dispute_id import dispute_id_of
from tests.adapters.conftest import Query
from tests.adapters.search_world import patience
from tests.adapters.world import World
from tests.clock import TODAY_AT_NOON, FakeClock
from tests.opensearch import SECONDS_MAX
from tests.plans import explained
from tests.webhooks import as_webhook, chargeback_webhook, order_webhook

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def patient() -> Iterator[None]:
    with patience():
        yield


@pytest.fixture
def search(pool: AsyncConnectionPool) -> PostgresSearch:
    return PostgresSearch(pool)


async def all_events(
    search: SearchSource, sought: EventsSought, limit: int = 1000
) -> tuple[list[LoggedEvent], int]:
    """What all pages hold, and how many pages there were."""
    found: list[LoggedEvent] = []
    after: Place | None = None
    for pages in itertools.count(1):
        page = await search.events(sought, after, limit)
        assert len(page.events) <= limit
        found += page.events
        after = page.next
        if after is None:
            return found, pages
    raise AssertionError("there is no end of counting")


async def all_disputes(search: SearchSource, sought: DisputesSought) -> list[DisputeState]:
    page = await search.disputes(sought, None, 1000)
    assert page.next is None
    return list(page.disputes)


def words(text: str) -> Sequence[Word]:
    return query_words(text)


# ── Words of disputes: SQL and Python ─────────────────────────────────────────────────────────────

# Letters whose lower case is ASCII, or longer, or depends on what is around; spaces beyond ASCII;
# and what is special in LIKE, in regular expressions and in SQL.
ODD = "aAkK1İIıßẞΣσς\u00a0\u2003\u3000-_.*%'\"\\$^()[]{}|+?&é\u0301ÉﬁǅЖж交🙂²½Ⅷ"
ORDER_ID_CHARACTERS = "aAzZ09._:~@=+-"
SENT_CHARACTERS = "aAzZ09._:~@=+-!#$%&'()*\\/^[]{}|?\"<>,;"


def odd_text(chance: random.Random, alphabet: str, length: int) -> str:
    return "".join(chance.choice(alphabet) for _ in range(chance.randint(1, length)))


async def write_odd_disputes(pool: AsyncConnectionPool, chance: random.Random) -> None:
    clock = FakeClock()
    world = World(pool, clock)
    bodies = []
    for number in range(150):
        id = f"{chance.choice('aZ9')}{odd_text(chance, ORDER_ID_CHARACTERS, 12)}{number}"
        reason = re.sub(r"^\s+$", "x", odd_text(chance, ODD + " aAbB ", 25))
        user_id = str(UUID(int=chance.getrandbits(128), version=4))
        bodies.append(order_webhook(id, user_id=user_id))
        bodies.append(chargeback_webhook(id, reason=reason, user_id=user_id))
    await world.webhooks(*bodies)
    async with pool.connection() as connection:
        # As if the provider had taken the evidence of every second one.
        for (order_id,) in await (
            await connection.execute("SELECT order_id FROM disputes ORDER BY order_id")
        ).fetchall():
            if chance.random() < 0.5:
                await connection.execute(
                    "INSERT INTO provider_intents VALUES ('dispute', %s, 'k', NULL, NULL, '[]',"
                    " '{}', 'success', now(), now(), %s, NULL, 'c', 0, now())",
                    (order_id, odd_text(chance, SENT_CHARACTERS, 20)),
                )


def odd_questions(
    disputes: Sequence[DisputeState], chance: random.Random
) -> Iterator[Sequence[Word]]:
    """Words that are there, their beginnings, ends and neighbours, and some that are not."""
    for _ in range(150):
        there = dispute_words(chance.choice(disputes))
        word = chance.choice(there)
        typed = chance.choice(
            [
                word.upper(),
                f"{word} {chance.choice(there)}",
                f"{word[: chance.randint(3, 9)]}*",
                word[chance.randint(0, len(word) - 1) :],
                odd_text(chance, ODD, 3),
                f"{word}{chance.choice(ODD)}{chance.choice(there)}",
            ]
        )
        with suppress(ValueError):
            yield query_words(typed)


async def test_words_of_disputes_mean_in_sql_what_they_mean_in_python(
    pool: AsyncConnectionPool, search: PostgresSearch
) -> None:
    chance = random.Random(6)
    await write_odd_disputes(pool, chance)
    disputes = await all_disputes(search, DisputesSought())
    said = {dispute.dispute_id: dispute_words(dispute) for dispute in disputes}
    assert len(said) == 150
    found_some = 0
    for asked in odd_questions(disputes, chance):
        expected = {id for id, there in said.items() if matches(there, asked)}
        sought = DisputesSought(words=asked)
        found = {dispute.dispute_id for dispute in await all_disputes(search, sought)}
        assert found == expected, asked
        assert (await search.facets(sought)).total == len(expected)
        found_some += bool(expected)
    assert found_some > 60


# ── Words of events ───────────────────────────────────────────────────────────────────────────────

# As the provider may send it: escapes, signs whose lower case is ASCII, numbers in odd spellings.
ODD_META = (
    rb'{"plain": "word", "\u0066raud-note": "\u0041lpha Beta\\gamma \u00fcber"}',
    '{"sign": "\u212aelvin \u0130stanbul STRASSE Stra\u00dfe"}'.encode(),
    rb'{"n": 1E5, "m": -0, "exact": 100.50, "deep": [{"key-One": ["two", {"three": 4.0}]}]}',
    b'{"quote": "say \\"hi\\"", "slash": "a\\/b", "tab": "c\\td"}',
)


async def test_words_of_events_are_found_however_they_were_written(
    pool: AsyncConnectionPool, search: PostgresSearch
) -> None:
    world = World(pool, FakeClock())
    await world.make()
    for number, meta in enumerate(ODD_META):
        body = order_webhook(f"odd-{number}", meta={"x": "HERE"})
        await world.webhooks(body.replace(b'{"x": "HERE"}', meta))
    events, _ = await all_events(search, EventsSought())
    said = {event.event_id: event_words(event) for event in events}
    there_are = sorted({word for there in said.values() for word in there})
    for word in random.Random(6).sample(there_are, 60):
        for asked in ((Word(word),), (Word(word[:4], is_beginning=True),)):
            found, _ = await all_events(search, EventsSought(words=asked))
            expected = {id for id, there in said.items() if matches(there, asked)}
            assert {event.event_id for event in found} == expected, asked
    for word in ("fraud-note", "kelvin", "alpha", "gamma", "straße", "4.0", "key-one"):
        assert len((await all_events(search, EventsSought(words=words(word))))[0]) == 1, word
    # The text of evidence is nobody's business here.
    assert (await all_events(search, EventsSought(words=words("delivered"))))[0] == []


# ── Walks over the log ────────────────────────────────────────────────────────────────────────────


async def write_history(pool: AsyncConnectionPool, orders: int = 40) -> None:
    """Some orders an hour, back from the newest day but one; every fourth has a dispute."""
    clock, event_ids = FakeClock(TODAY_AT_NOON - 2 * DAY), UUIDv7s()
    apply = ApplyWebhooks(PostgresDatabase(pool), clock, event_ids, PrometheusTelemetry())
    for number in range(orders):
        id = f"ord-{number}"
        bodies = [order_webhook(id, meta={"note": "even" if number % 2 == 0 else "odd"})]
        if number % 4 == 0:
            bodies.append(chargeback_webhook(id, reason="fraud" if number % 8 else "general"))
        await apply([as_webhook(body) for body in bodies])
        clock.advance(hours=1)


SOUGHT = (
    EventsSought(),
    EventsSought(words=words("even")),
    EventsSought(words=words("fraud usd")),
    EventsSought(kinds=["webhook_opened"], words=words("general")),
    EventsSought(order_ids=["ord-4", "ord-8", "ord-9"]),
    EventsSought(dispute_ids=[dispute_id_of("ord-12")], words=words("ord-12")),
    EventsSought(order_ids=["ord-4"], dispute_ids=[dispute_id_of("ord-12")]),
    EventsSought(time_from=TODAY_AT_NOON - DAY, time_to=TODAY_AT_NOON - DAY / 2),
    EventsSought(words=words("nowhere")),
)


@pytest.mark.parametrize("sought", SOUGHT, ids=range(len(SOUGHT)))
async def test_pages_of_one_are_together_one_large_page(
    pool: AsyncConnectionPool, search: PostgresSearch, sought: EventsSought
) -> None:
    await write_history(pool, 20)
    (whole, pages), (one_by_one, _) = [
        await all_events(search, sought, 1000),
        await all_events(search, sought, 1),
    ]
    assert pages == 1
    assert one_by_one == whole
    places = [(event.created_at, str(event.event_id)) for event in whole]
    assert places == sorted(places, reverse=True)


async def test_a_walk_that_takes_too_long_says_where_to_go_on(
    pool: AsyncConnectionPool, search: PostgresSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_history(pool)
    sought = EventsSought(words=words("even"))
    whole, _ = await all_events(search, sought)
    monkeypatch.setattr(questions, "WALK_SECONDS_MAX", 0.0)
    monkeypatch.setattr(questions, "EVENTS_FIRST", 5)
    in_bits, pages = await all_events(search, sought)
    assert in_bits == whole
    assert pages > 5


async def test_a_page_ends_when_its_payloads_are_too_large(
    pool: AsyncConnectionPool, search: PostgresSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write_history(pool, 20)
    monkeypatch.setattr(questions, "EVENT_BYTES_MAX", 1000)
    for sought in (EventsSought(), EventsSought(words=words("even"))):
        found, pages = await all_events(search, sought)
        assert pages > 2
        monkeypatch.setattr(questions, "EVENT_BYTES_MAX", 10**9)
        assert (await all_events(search, sought)) == (found, 1)
        monkeypatch.setattr(questions, "EVENT_BYTES_MAX", 1000)


async def test_new_events_while_paging_move_nothing(
    pool: AsyncConnectionPool, search: PostgresSearch
) -> None:
    await write_history(pool, 10)
    before, _ = await all_events(search, EventsSought())
    first = await search.events(EventsSought(), None, 4)
    clock = FakeClock(before[0].created_at)
    clock.advance(seconds=1)
    apply = ApplyWebhooks(PostgresDatabase(pool), clock, UUIDv7s(), PrometheusTelemetry())
    await apply([as_webhook(order_webhook("newer"))])
    rest = await search.events(EventsSought(), first.next, 1000)
    assert [*first.events, *rest.events] == before


# ── A single id ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def no_time_to_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a log of many millions, where the walk comes nowhere near."""
    monkeypatch.setattr(questions, "WALK_SECONDS_OF_ID", 0.0)


@pytest.mark.usefixtures("no_time_to_walk")
async def test_an_orders_id_leads_to_its_events_and_its_disputes_at_once(
    pool: AsyncConnectionPool, search: PostgresSearch
) -> None:
    await write_history(pool)
    sought = EventsSought(words=words("ORD-4"))
    found, pages = await all_events(search, sought)
    assert [(event.order_id, event.kind) for event in found] == [
        ("ord-4", "webhook_opened"),
        ("ord-4", "webhook_received"),
    ]
    assert pages == 1
    assert (await all_events(search, sought, 1))[0] == found


@pytest.mark.usefixtures("no_time_to_walk")
async def test_a_disputes_id_leads_to_its_events_at_once(
    pool: AsyncConnectionPool, search: PostgresSearch
) -> None:
    await write_history(pool)
    (opened,), _ = await all_events(
        search, EventsSought(words=words(str(dispute_id_of("ord-12")).upper()))
    )
    assert (opened.order_id, opened.kind) == ("ord-12", "webhook_opened")


@pytest.mark.usefixtures("no_time_to_walk")
async def test_an_events_id_leads_to_it_at_once(
    pool: AsyncConnectionPool, search: PostgresSearch
) -> None:
    await write_history(pool)
    apply = ApplyWebhooks(PostgresDatabase(pool), _Now(), UUIDv7s(), PrometheusTelemetry())
    await apply([as_webhook(order_webhook(f"now-{number}")) for number in range(3)])
    events, _ = await all_events(search, EventsSought(order_ids=["now-1"]))
    sought = EventsSought(words=words(str(events[0].event_id)))
    assert await all_events(search, sought) == (events, 1)


@pytest.mark.usefixtures("no_time_to_walk")
async def test_an_id_is_looked_up_within_the_other_filters(
    pool: AsyncConnectionPool, search: PostgresSearch
) -> None:
    await write_history(pool)
    sought = EventsSought(words=words("ord-4"), kinds=["webhook_opened"])
    assert [event.kind for event in (await all_events(search, sought))[0]] == ["webhook_opened"]
    sought = EventsSought(words=words("ord-4"), time_to=TODAY_AT_NOON - 3 * DAY)
    assert await all_events(search, sought) == ([], 1)


async def test_what_mentions_an_id_is_found_too(
    pool: AsyncConnectionPool, search: PostgresSearch
) -> None:
    world = World(pool, FakeClock())
    await world.webhooks(order_webhook("ord-1"))
    await world.webhooks(order_webhook("ord-2", meta={"refund_of": "ord-1"}))
    found, _ = await all_events(search, EventsSought(words=words("ord-1")))
    assert [event.order_id for event in found] == ["ord-2", "ord-1"]


# ── How far it is ─────────────────────────────────────────────────────────────────────────────────


async def test_an_empty_database_has_answers(search: PostgresSearch) -> None:
    as_of = await search.as_of()
    assert as_of is not None
    assert (as_of.order_position, as_of.dispute_position) == (0, 0)
    assert await all_events(search, EventsSought(words=words("x"))) == ([], 1)
    assert await all_disputes(search, DisputesSought(words=words("x"))) == []
    facets = await search.facets(DisputesSought())
    assert (facets.total, facets.statuses, facets.amount_ranges) == (0, {}, {})
    asked = AnalyticsAsked(Interval.MONTH, datetime(2026, 1, 1, tzinfo=UTC), TODAY_AT_NOON)
    assert await search.dispute_cells(asked) == []
    assert await search.order_cells(asked) == []


async def test_what_is_not_committed_is_not_said_to_be_seen(
    pool: AsyncConnectionPool, search: PostgresSearch, query: Query
) -> None:
    event_ids = UUIDv7s()
    apply = ApplyWebhooks(PostgresDatabase(pool), _Now(), event_ids, PrometheusTelemetry())
    await apply([as_webhook(order_webhook("seen"))])
    ((seen_id, position),) = await query("SELECT event_id, position FROM order_events")
    event_id = event_ids.next()
    async with pool.connection() as connection, connection.transaction(force_rollback=True):
        await connection.execute(
            "INSERT INTO order_events (event_id, order_id, sequence, kind, data, created_at,"
            " correlation_id) VALUES (%s, 'x', 1, 'hold_set', '{}', now(), 'c')",
            (event_id,),
        )
        as_of = await search.as_of()
        assert as_of is not None
        assert as_of.order_position == position
        assert not await search.has_event(event_id)
    assert await search.has_event(seen_id)
    assert not await search.has_event(UUID(int=1))
    assert not await search.has_event(dispute_id_of("seen"))


class _Now:
    def now(self) -> datetime:
        return datetime.now(UTC)


async def test_whether_an_event_is_there_is_looked_up_in_its_own_days(
    pool: AsyncConnectionPool, search: PostgresSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Any]] = []

    async def fetch(text: str, values: Any) -> list[tuple[Any, ...]]:
        asked.append((text, values))
        return [(False,)]

    monkeypatch.setattr(search, "_fetch", fetch)
    await search.has_event(UUIDv7s().next())
    ((text, values),) = asked
    async with pool.connection() as connection:
        cost = await explained(connection, AsyncClientCursor(connection).mogrify(text, values))
    assert cost.days("order_events") <= 2
    assert cost.days("dispute_events") <= 2


# ── Bounds ────────────────────────────────────────────────────────────────────────────────────────


@asynccontextmanager
async def locked(pool: AsyncConnectionPool, table: str) -> AsyncIterator[None]:
    """Nobody reads this table meanwhile: as slow as a question can be."""
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(f"LOCK TABLE {table}".encode())
        yield


def impatient(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Only while nothing can be answered: else a busy machine might need longer."""
    for name in names:
        quick = {**getattr(questions, name), "statement_timeout": "100ms"}
        monkeypatch.setattr(questions, name, quick)


async def test_a_question_that_takes_too_long_is_given_up_and_leaves_the_pool_well(
    pool: AsyncConnectionPool, search: PostgresSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = AnalyticsAsked(Interval.DAY, TODAY_AT_NOON, TODAY_AT_NOON + DAY)
    async with locked(pool, "disputes"):
        impatient(monkeypatch, "_LISTING", "_COUNTING")
        for question in (
            search.facets(DisputesSought()),
            search.disputes(DisputesSought(), None, 10),
            search.dispute_cells(asked),
        ):
            with pytest.raises(Unavailable, match="took too long"):
                await question
        monkeypatch.undo()
    assert (await search.facets(DisputesSought())).total == 0
    usual: dict[str, set[str]] = {}
    for _ in range(8):  # every connection that was used, and those that weren't
        async with pool.connection() as connection:
            for name in ("statement_timeout", "enable_seqscan", "enable_sort", "work_mem", "jit"):
                cursor = await connection.execute(f"SHOW {name}".encode())
                usual.setdefault(name, set()).add((await cursor.fetchone() or ())[0])
    assert usual["statement_timeout"] == {"15s"}
    assert usual["enable_seqscan"] == {"off"}
    assert all(len(values) == 1 for values in usual.values())


async def test_a_walk_that_hangs_is_given_up(
    pool: AsyncConnectionPool, search: PostgresSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    sought = EventsSought(words=words("x y"), time_from=TODAY_AT_NOON - DAY, time_to=TODAY_AT_NOON)
    async with locked(pool, "order_events"):
        impatient(monkeypatch, "_WALKING")
        with pytest.raises(Unavailable, match="took too long"):
            await search.events(sought, None, 10)
        monkeypatch.undo()
    assert await all_events(search, sought) == ([], 1)


async def test_only_a_few_questions_are_worked_on_and_the_others_wait_or_are_told(
    pool: AsyncConnectionPool, search: PostgresSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "QUEUE_SECONDS_MAX", 0.2)
    async with locked(pool, "disputes"):
        working = [
            asyncio.create_task(search.facets(DisputesSought())) for _ in range(questions.AT_ONCE)
        ]
        await asyncio.sleep(0)  # they have their turns
        with pytest.raises(Unavailable, match="too many"):
            await search.facets(DisputesSought())
        async with pool.connection(timeout=SECONDS_MAX / 2) as connection:
            await connection.execute("SELECT 1")
    assert [facets.total for facets in await asyncio.gather(*working)] == [0] * questions.AT_ONCE


async def test_a_question_that_nobody_waits_for_any_more_ends_at_the_server(
    pool: AsyncConnectionPool, search: PostgresSearch, query: Query
) -> None:
    working = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'WITH cells%' AND state = 'active'"
    )
    async with locked(pool, "disputes"):
        task = asyncio.create_task(search.facets(DisputesSought()))
        async with asyncio.timeout(SECONDS_MAX / 2):
            while await query(working) == [(0,)]:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while await query(working) != [(0,)]:
                await asyncio.sleep(0.01)
    assert (await search.facets(DisputesSought())).total == 0
