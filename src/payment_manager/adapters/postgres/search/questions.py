"""Search, answered from the logs and the rows: always there, slower than an index, and bounded.

How to think about it: events are walked over, newest first, and those that may have the words are
read; a walk that takes too long ends with a short page that says where to go on. Disputes and
orders are counted by the server, a statement a question, which is given up after five seconds. Only
a few questions are worked on at once, since the same server takes the webhooks.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg import AsyncClientCursor, errors
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.event_windows import INSTANT, Span
from payment_manager.adapters.postgres.read_model import (
    Parameters,
    PostgresReadModel,
    events_statement,
)
from payment_manager.adapters.postgres.search.conditions import (
    AMOUNT_RANGE,
    RANGES,
    Conditions,
    may_say,
    of_disputes,
)
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import (
    EVENT_BYTES_MAX,
    AnalyticsAsked,
    AsOf,
    DisputeCell,
    DisputesSought,
    DisputeState,
    EventsAsked,
    EventsSought,
    Facets,
    FoundDisputes,
    FoundEvents,
    LoggedEvent,
    OrderCell,
    Place,
    Space,
    Unavailable,
    Word,
)
from payment_manager.application.search import REASONS_MAX
from payment_manager.application.search_terms import event_words, matches, words_of
from payment_manager.contracts.events import DISPUTE_KINDS, ORDER_KINDS
from payment_manager.domain.dispute_id import dispute_id_of

WALK_SECONDS_MAX = 1.5
"""For one page of events."""

WALK_SECONDS_OF_ID = 0.3
"""Where the word is an id: its own events come by their index then, at once."""

EVENTS_FIRST, EVENTS_MAX = 101, 20_000
"""Walked over by one statement: a page first, and then four times as many each time."""

AT_ONCE = 2
"""Questions that are worked on, of one process. More would not be answered sooner, and would keep
connections from the webhooks.
"""

QUEUE_SECONDS_MAX = 2.0

ID_TIME = timedelta(seconds=10)
"""An event's id is made when its time has just been read; a clock may be set meanwhile."""

_WALKING = {"statement_timeout": "5s", "work_mem": "32MB", "jit": "off"}

# Unlike all else here, tables may be read whole and joined by hashing.
_LISTING = {
    **_WALKING,
    # What `date_trunc` goes by; to be told the zone would cost it as much as all the rest.
    "timezone": "UTC",
    "enable_seqscan": "on",
    "enable_hashjoin": "on",
    # A question is not worth a second processor that takes webhooks.
    "max_parallel_workers_per_gather": "0",
}

# Groups are few, and the server expects many: it would sort all rows instead of hashing them.
_COUNTING = {**_LISTING, "enable_sort": "off"}

_SET = "SELECT set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) AS s (name, value)"

Row = tuple[Any, ...]
Settings = dict[str, str]


class PostgresSearch:
    """`SearchSource` on a pool of connections; with a replica's pool it reads from the replica."""

    name = "postgres"

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool
        self._log = PostgresReadModel(pool)
        self._working = asyncio.Semaphore(AT_ONCE)

    async def as_of(self) -> AsOf | None:
        """Positions: the largest of the newest few events, so never one that can't be seen yet."""
        values: Parameters = {}
        for space in Space:
            newest = await self._log.stretches(EventsAsked(space), None)
            start, end = next(iter(newest), (None, None))
            values |= {f"{space}s_start": start or _FIRST, f"{space}s_end": end or _LAST}
        ((now, orders, disputes),) = await self._fetch(SQL["search_as_of"], values)
        return AsOf(now, orders, disputes)

    async def has_event(self, event_id: UUID) -> bool:
        if event_id.version != 7:
            return False
        start, end = _around(event_id)
        values = {"start": start, "end": end, "event_id": event_id}
        ((found,),) = await self._fetch(SQL["search_has_event"], values)
        return bool(found)

    # ── Events ────────────────────────────────────────────────────────────────────────────────────

    async def events(self, sought: EventsSought, after: Place | None, limit: int) -> FoundEvents:
        async with self._turn():
            by_id = await self._by_id(sought) if len(sought.words) == 1 else None
            if by_id is None:
                return await self._page(sought, after, limit, WALK_SECONDS_MAX)
            found = await self._page(sought, after, limit, WALK_SECONDS_OF_ID)
            missing = limit - len(found.events)
            if found.next is None or not missing:
                return found
            # Behind what was walked over, at least what the id itself leads to.
            rest = await self._page(by_id, found.next, missing, WALK_SECONDS_MAX)
            return FoundEvents([*found.events, *rest.events], rest.next)

    async def _by_id(self, sought: EventsSought) -> EventsSought | None:
        """Of the one word that is sought, where that is the id of something: what it leads to."""
        (word,) = sought.words
        if word.is_beginning or sought.order_ids or sought.dispute_ids:
            return None
        id = _uuid(word.text)
        values = {
            "order_ids": [word.text, word.text.upper()],
            "dispute_ids": [] if id is None else [id],
        }
        rows = await self._fetch(SQL["search_ids"], values)
        if rows:
            return replace(
                sought,
                words=(),
                order_ids=[order_id for order_id, _ in rows if order_id is not None],
                dispute_ids=[dispute_id for _, dispute_id in rows if dispute_id is not None],
            )
        if id is not None and await self.has_event(id):
            start, end = _around(id)
            return replace(
                sought,
                time_from=max(start, sought.time_from or start),
                time_to=min(end, sought.time_to or end),
            )
        return None

    async def _page(
        self, sought: EventsSought, after: Place | None, limit: int, seconds: float
    ) -> FoundEvents:
        """Both logs at once; the page ends where both of them were walked over."""
        deadline = asyncio.get_running_loop().time() + seconds
        begin = after or _BEFORE_ALL
        walks = [_Walk(asked, begin) for asked in _of_logs(sought)]
        size = min(limit + 1, EVENTS_FIRST)
        while True:
            unfinished = [walk for walk in walks if not walk.is_over]
            least = max(unfinished, key=lambda walk: walk.place, default=None)
            found = [
                event
                for walk in walks
                for event in walk.found
                if least is None or _place(event) >= least.place
            ]
            full = len(found) > limit or sum(len(event.data) for event in found) > EVENT_BYTES_MAX
            # However little time there is, each page comes a bit further.
            if least is None or full or (least.place < begin and _is_past(deadline)):
                break
            await self._step(least, sought.words, size, limit + 1, deadline)
            size = min(4 * size, EVENTS_MAX) if sought.words else size
        found.sort(key=_place, reverse=True)
        if len(found) > limit:
            return FoundEvents(found[:limit], _place(found[limit - 1]))
        return FoundEvents(found, None if least is None else least.place)

    async def _step(
        self,
        walk: "_Walk",
        words: Sequence[Word],
        size: int,
        enough: int,
        deadline: float | None = None,
    ) -> None:
        """`size` events further, or fewer where that is enough or takes too long."""
        after = None if walk.place == _BEFORE_ALL else walk.place
        for window in await self._log.stretches(walk.asked, after):
            text, values = events_statement(
                walk.asked, window, after, size, _COLUMNS[walk.asked.space]
            )
            if words:
                text = SQL["search_walk"].format(page=text, conditions=may_say(words, values))
            walked = 0
            async with aclosing(self._rows(text, values, only_may_fit=bool(words))) as rows:
                async for count, *row in rows:
                    event = _event(row)
                    walk.place, walked = _place(event), walked + 1 if count is None else count
                    if count is not None:
                        continue
                    if not words or matches(event_words(event), words):
                        walk.find(event)
                    if walk.has(enough) or _is_past(deadline):
                        return
            size -= walked
            if not size:
                return
            if window[0] is not None:
                walk.place = (window[0] - INSTANT, _LAST_ID)
                if _is_past(deadline):
                    return
        walk.is_over = True

    # ── Disputes and orders ───────────────────────────────────────────────────────────────────────

    async def disputes(
        self, sought: DisputesSought, after: Place | None, limit: int
    ) -> FoundDisputes:
        async with self._turn():
            conditions = of_disputes(sought, await self._reasons(sought.words))
            conditions.beyond(after)
            text = SQL["search_disputes"].format(conditions=conditions)
            values = {**conditions.values, "limit": limit + 1}
            rows = await self._fetch(text, values, _LISTING)
        states = [DisputeState(*row) for row in rows]
        return FoundDisputes(
            states[:limit],
            (states[limit - 1].recorded_at, str(states[limit - 1].dispute_id))
            if len(states) > limit
            else None,
        )

    async def facets(self, sought: DisputesSought) -> Facets:
        async with self._turn():
            conditions = of_disputes(sought, await self._reasons(sought.words))
            text = SQL["search_facets"].format(conditions=conditions, **AMOUNT_RANGE)
            values = {**conditions.values, "reasons": REASONS_MAX}
            rows = await self._fetch(text, values, _COUNTING)
        counted: dict[int, dict[str, int]] = defaultdict(dict)
        for left_out, value, disputes in rows:
            counted[left_out][value or ""] = disputes
        # PostgreSQL sets a bit for each column that is not in the group, the last column's first.
        return Facets(
            total=counted[0b11111].get("", 0),
            statuses=counted[0b01111],
            reasons=counted[0b10111],
            currencies=counted[0b11011],
            months=counted[0b11101],
            amount_ranges={RANGES[int(n) - 1]: count for n, count in counted[0b11110].items()},
        )

    async def _reasons(self, words: Sequence[Word]) -> dict[Word, list[str]]:
        """Of all reasons that there are, those that have this word."""
        if not words:
            return {}
        rows = await self._fetch(SQL["search_reasons"], {}, _WALKING)
        said = [(reason, words_of([reason])) for (reason,) in rows]
        return {
            word: [reason for reason, there in said if matches(there, [word])] for word in words
        }

    async def dispute_cells(self, asked: AnalyticsAsked) -> Sequence[DisputeCell]:
        conditions = Conditions()
        conditions.any("d.reason", "reasons_asked", asked.reasons)
        conditions.any("d.currency", "currencies", asked.currencies)
        rows = await self._count("search_dispute_cells", asked, conditions, reasons=REASONS_MAX)
        return [DisputeCell._make((*row[:-1], int(row[-1]))) for row in rows]

    async def order_cells(self, asked: AnalyticsAsked) -> Sequence[OrderCell]:
        conditions = Conditions()
        conditions.any("o.currency", "currencies", asked.currencies)
        rows = await self._count("search_order_cells", asked, conditions)
        return [OrderCell(*row) for row in rows]

    async def _count(
        self, name: str, asked: AnalyticsAsked, conditions: Conditions, **more: Any
    ) -> list[Row]:
        values = {
            "interval": str(asked.interval),
            "start": asked.time_from,
            "end": asked.time_to,
            **more,
        }
        async with self._turn():
            text = SQL[name].format(conditions=conditions)
            return await self._fetch(text, {**conditions.values, **values}, _COUNTING)

    # ── The server ────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(QUEUE_SECONDS_MAX):
                await self._working.acquire()
        except TimeoutError:
            raise Unavailable("too many questions at once") from None
        try:
            yield
        finally:
            self._working.release()

    async def _fetch(
        self, text: str, values: Parameters, settings: Settings | None = None
    ) -> list[Row]:
        async with self._cursor(settings) as cursor:
            await cursor.execute(text, values)
            return await cursor.fetchall()

    async def _rows(
        self, text: str, values: Parameters, *, only_may_fit: bool
    ) -> AsyncGenerator[Row, None]:
        """Those of which few may be kept come one by one, which takes twice as long."""
        if not only_may_fit:
            for row in await self._fetch(text, values):
                yield row
            return
        async with self._cursor(_WALKING) as cursor:
            async for row in cursor.stream(text, values):
                yield row

    @asynccontextmanager
    async def _cursor(self, settings: Settings | None) -> AsyncIterator[AsyncClientCursor[Row]]:
        """For one statement, planned for its values; where need be under settings of its own."""
        with translated():
            try:
                async with self._pool.connection() as connection, AsyncExitStack() as stack:
                    cursor = AsyncClientCursor(connection)
                    if settings is not None:
                        await stack.enter_async_context(connection.transaction())
                        names = [*settings], [*settings.values()]
                        await cursor.execute(_SET, names)
                    yield cursor
            except errors.QueryCanceled as error:
                raise Unavailable("the question took too long") from error


# ── Logs ──────────────────────────────────────────────────────────────────────────────────────────

_FIRST, _LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)

_BEFORE_ALL: Place = (_LAST, "")

_LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"
"""With the last time before a window: behind all that lies in the window, before all else."""

_COLUMNS = {
    space: SQL["search_event_columns"].replace("{order_id}", order).replace("{dispute_id}", dispute)
    for space, order, dispute in (
        (Space.ORDER, "e.order_id", "NULL::uuid"),
        (Space.DISPUTE, SQL["search_event_order"], "e.dispute_id"),
    )
}


@dataclass(slots=True)
class _Walk:
    """One log: how far it was walked over, and what was found."""

    asked: EventsAsked
    place: Place
    is_over: bool = False
    found: list[LoggedEvent] = field(default_factory=list)
    found_bytes: int = 0

    def find(self, event: LoggedEvent) -> None:
        self.found.append(event)
        self.found_bytes += len(event.data)

    def has(self, enough: int) -> bool:
        return len(self.found) >= enough or self.found_bytes > EVENT_BYTES_MAX


def _of_logs(sought: EventsSought) -> Iterator[EventsAsked]:
    """What is asked of each log; nothing, where it can have none of these."""
    disputes = {*sought.dispute_ids, *map(dispute_id_of, sought.order_ids)}
    for space, streams, known in (
        (Space.ORDER, sought.order_ids, ORDER_KINDS),
        (Space.DISPUTE, sorted(map(str, disputes)), DISPUTE_KINDS),
    ):
        kinds = [kind for kind in sought.kinds if kind in known]
        if (sought.kinds and not kinds) or (disputes and not streams):
            continue
        yield EventsAsked(
            space=space,
            streams=streams,
            kinds=kinds,
            time_from=sought.time_from,
            time_to=sought.time_to,
        )


def _event(row: Sequence[Any]) -> LoggedEvent:
    event_id, *rest = row
    return LoggedEvent(UUID(event_id), *rest)


def _place(event: LoggedEvent) -> Place:
    return event.created_at, str(event.event_id)


def _is_past(deadline: float | None) -> bool:
    return deadline is not None and asyncio.get_running_loop().time() >= deadline


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None


def _around(event_id: UUID) -> Span:
    """When an event of this id was recorded: the id begins with its milliseconds."""
    made = datetime.fromtimestamp((event_id.int >> 80) / 1000, UTC)
    return made - ID_TIME, made + ID_TIME
