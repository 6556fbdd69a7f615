"""Questions of search, put to OpenSearch.

How to think about it: a question becomes filters over exact values (`term`, `prefix`, ranges of
whole microseconds), never text in a query language, so nothing that a person types can be an
operator. Pages are walked by (time, id) as in PostgreSQL, so a walk may begin in one source and go
on in the other. What comes back is read strictly: an answer that is partial, not exact, or not
understood is none, and somebody else may answer.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from opensearchpy import AsyncOpenSearch

from payment_manager.adapters.opensearch import answers, documents
from payment_manager.adapters.opensearch.connection import translated
from payment_manager.adapters.opensearch.documents import microseconds
from payment_manager.application.ports import (
    EVENT_BYTES_MAX,
    AnalyticsAsked,
    AsOf,
    Clock,
    DisputeCell,
    DisputesSought,
    Document,
    EventsSought,
    EventTail,
    Facets,
    FoundDisputes,
    FoundEvents,
    OrderCell,
    Place,
    SearchIndex,
    Word,
)
from payment_manager.application.search import REASONS_MAX
from payment_manager.application.search_terms import AMOUNT_RANGES
from payment_manager.domain.dispute import DisputeStatus
from payment_manager.domain.dispute_id import dispute_id_of
from payment_manager.domain.order import AttemptStatus, OrderStatus

ANSWER_SECONDS_MAX = 2.0
"""Whoever waits is better served by PostgreSQL after that."""

BUILD_KNOWN_SECONDS = 1.0
"""A build goes only when another one that has more has taken its place, or by an accident: then the
projector needs longer than this to notice, too.
"""

DOCUMENTS_AT_ONCE = 200
"""Each may be as large as a webhook, so a full page comes in pieces."""

# Far more than there are at once, and few enough to be held in memory. Counts are exact up to so
# many reasons, however many threads search; beyond, OpenSearch says so, and PostgreSQL counts.
REASONS_COUNTED_MAX = 10_000

# More than ISO 4217 has.
CURRENCIES_MAX = 300

# All from 1970 to 2100, the years that a webhook may name.
MONTHS_MAX = 131 * 12

Json = dict[str, Any]
Filters = list[Json]
Counted = TypeVar("Counted")


class OpenSearchSearch:
    """`SearchSource` on the documents that the projection keeps. `names`: what is asked, by kind of
    document. How fresh they are stands in the projection's checkpoint, which `tail` knows.
    """

    name = "opensearch"

    def __init__(
        self,
        client: AsyncOpenSearch,
        names: Mapping[Document, str],
        index: SearchIndex,
        tail: EventTail,
        clock: Clock,
    ) -> None:
        self._client = client
        self._index, self._tail, self._clock = index, tail, clock
        self._orders, self._disputes = names[Document.ORDER], names[Document.DISPUTE]
        self._events = ",".join((names[Document.ORDER_EVENT], names[Document.DISPUTE_EVENT]))
        self._build: tuple[str | None, float] = (None, float("-inf"))

    async def as_of(self) -> AsOf | None:
        now = self._clock.now()
        checkpoint = await self._tail.checkpoint()
        if checkpoint is None or checkpoint.build != await self._answering_build():
            return None
        as_of = checkpoint.as_of
        if (await self._tail.backlog(checkpoint)).events == 0:
            # The newest event may be old; that there is none since is news of now.
            return AsOf(max(now, as_of.time), as_of.order_position, as_of.dispute_position)
        return as_of

    async def _answering_build(self) -> str | None:
        build, known_until = self._build
        if monotonic() >= known_until:
            build = await self._index.build()
            self._build = build, monotonic() + BUILD_KNOWN_SECONDS
        return build

    async def has_event(self, event_id: UUID) -> bool:
        asked = {
            # A search, since a document can be got by its id before any search finds it.
            "query": {"ids": {"values": [str(event_id)]}},
            "_source": ["position", "dispute_id"],
            "track_total_hits": False,
        }
        answer = await self._ask(self._events, asked, answers.Answer[Json | None], size=1)
        if not answer.hits.hits:
            return False
        with translated():
            found = msgspec.convert(answer.hits.hits[0].source, answers.Numbered)
        # The indices are refreshed one after the other: this one shows the event, and another may
        # not show its dispute yet. The checkpoint comes after all of them.
        checkpoint = await self._tail.checkpoint()
        if checkpoint is None:
            return False
        as_of = checkpoint.as_of
        is_orders = found.dispute_id is None
        return found.position <= (as_of.order_position if is_orders else as_of.dispute_position)

    async def events(self, sought: EventsSought, after: Place | None, limit: int) -> FoundEvents:
        filters = [*_words(sought.words), *_any("kind", sought.kinds)]
        filters += _within("recorded_us", sought.time_from, sought.time_to)
        ids = [*map(dispute_id_of, sought.order_ids), *sought.dispute_ids]
        if ids:
            of_disputes = {"terms": {"dispute_id": [str(id) for id in ids]}}
            of_orders = _any("order_id", sought.order_ids)
            filters.append(_either(of_disputes, *of_orders))
        sources, is_over = await self._page(self._events, filters, "event_id", after, limit)
        events = [documents.read_event(source) for source in sources]
        if is_over:
            return FoundEvents(events, None)
        return FoundEvents(events, (events[-1].created_at, str(events[-1].event_id)))

    async def disputes(
        self, sought: DisputesSought, after: Place | None, limit: int
    ) -> FoundDisputes:
        filters = _sought(sought)
        sources, is_over = await self._page(self._disputes, filters, "dispute_id", after, limit)
        found = [documents.read_dispute(source) for source in sources]
        if is_over:
            return FoundDisputes(found, None)
        return FoundDisputes(found, (found[-1].recorded_at, str(found[-1].dispute_id)))

    async def facets(self, sought: DisputesSought) -> Facets:
        asked = {
            "query": _all(_sought(sought)),
            "track_total_hits": True,
            "aggs": {
                "statuses": _terms("status", len(DisputeStatus)),
                "reasons": _terms("reason", REASONS_MAX, counted=REASONS_COUNTED_MAX),
                "currencies": _terms("currency", CURRENCIES_MAX),
                "months": _terms("month", MONTHS_MAX),
                "amount_ranges": _terms("amount_range", len(AMOUNT_RANGES)),
            },
        }
        answer = await self._ask(self._disputes, asked, answers.Answer[answers.Facets], size=0)
        found = answer.counted()
        return Facets(
            total=answer.total(),
            statuses=answers.counts(found.statuses.all()),
            reasons=answers.counts(found.reasons.first()),
            currencies=answers.counts(found.currencies.all()),
            months=dict(sorted(answers.counts(found.months.all()).items())),
            amount_ranges=answers.counts(found.amount_ranges.all()),
        )

    async def dispute_cells(self, asked: AnalyticsAsked) -> Sequence[DisputeCell]:
        happened = _happened(asked)
        by_reason = _terms("reason", REASONS_MAX, counted=REASONS_COUNTED_MAX)
        by_reason["terms"]["order"] = [{"most": "desc"}, {"_key": "asc"}]
        # Amounts only of those reasons that are answered.
        by_reason["terms"]["collect_mode"] = "breadth_first"
        by_reason["aggs"] = {
            what: {"filter": condition, "aggs": _AMOUNTS}
            for what, (condition, _) in happened.items()
        }
        by_reason["aggs"]["most"] = {"filter": happened["opened"][0]}
        by_time = {
            what: {"filter": condition, "aggs": _by_time(asked, time, _AMOUNTS)}
            for what, (condition, time) in happened.items()
        }
        filters = [*_any("reason", asked.reasons), *_any("currency", asked.currencies)]
        filters.append(_either(*(condition for condition, _ in happened.values())))
        question = {
            "query": _all(filters),
            "track_total_hits": False,
            "aggs": {**by_time, "by_reason": by_reason},
        }
        answer = await self._ask(self._disputes, question, answers.Answer[answers.Disputes], size=0)
        return list(answer.counted().cells(asked))

    async def order_cells(self, asked: AnalyticsAsked) -> Sequence[OrderCell]:
        by_status = _terms("status", len(OrderStatus))
        by_status["aggs"] = {
            "on_hold": {"filter": {"term": {"on_hold": True}}},
            "was_held": {"filter": {"term": {"was_held": True}}},
            "captured": {"filter": {"term": {"capture_status": AttemptStatus.SUCCESS}}},
        }
        question = {
            "query": _all([_in_window("created_at", asked), *_any("currency", asked.currencies)]),
            "track_total_hits": False,
            "aggs": _by_time(asked, "created_at", {"by_status": by_status}),
        }
        answer = await self._ask(self._orders, question, answers.Answer[answers.Orders], size=0)
        return list(answer.counted().cells(asked))

    async def _page(
        self, indices: str, filters: Filters, id: str, after: Place | None, limit: int
    ) -> tuple[list[Json], bool]:
        """The documents of one page, and whether they are the last; fewer where they are large."""
        found: list[Json] = []
        bytes_found = 0
        behind: tuple[int, str] | None = None
        if after is not None:
            behind = microseconds(after[0]), after[1]
        while True:
            # One more than fits, to know whether there is one.
            size = min(limit + 1 - len(found), DOCUMENTS_AT_ONCE)
            hits, behind = await self._piece(indices, filters, id, behind, size)
            found += (hit.source for hit in hits)
            bytes_found += sum(len(str(hit.source.get("data"))) for hit in hits)
            if len(found) > limit:
                return found[:limit], False
            if behind is None:
                return found, True
            if bytes_found > EVENT_BYTES_MAX:
                return found, False

    async def _piece(
        self, indices: str, filters: Filters, id: str, behind: tuple[int, str] | None, size: int
    ) -> tuple[Sequence[answers.Hit], tuple[int, str] | None]:
        """At most `size` documents behind that place, and where to go on; None: they are the last.

        Sorted by time alone, the server walks along its index and stops at the last one asked for;
        sorted by id too, it looks at every document there is. So the first question is how far back
        so many of them lie, and the second one is about no more than that.
        """
        bounds: dict[str, int] = {}
        asked: Json = {"track_total_hits": False}
        if behind is not None:
            bounds["lte" if behind[1] else "lt"] = behind[0]
        by_time = {**asked, "query": _bounded(filters, bounds), "sort": [_NEWEST], "_source": False}
        times = (
            await self._ask(indices, by_time, answers.Answer[Json | None], size=size)
        ).hits.hits
        if len(times) == size:
            bounds["gte"] = times[-1].place()[0]
        asked |= {
            "query": _bounded(filters, bounds),
            "sort": [_NEWEST, {id: "desc"}],
            "_source": {"excludes": ["words"]},
        }
        if behind is not None and behind[1]:
            asked["search_after"] = behind
        hits = (await self._ask(indices, asked, answers.Answer[Json | None], size=size)).hits.hits
        if len(hits) >= size:
            return hits, hits[-1].place()
        # There may be others of that time that were told already; what comes next is earlier.
        return hits, (bounds["gte"], "") if "gte" in bounds else None

    async def _ask(
        self, indices: str, asked: Json, form: type[answers.Answer[Counted]], *, size: int
    ) -> answers.Answer[Counted]:
        limit = f"{round(ANSWER_SECONDS_MAX * 1000)}ms"
        # The work ends with the waiting, on both sides.
        parameters = {
            "request_timeout": ANSWER_SECONDS_MAX,
            "cancel_after_time_interval": limit,
            "allow_partial_search_results": "false",
        }
        body = {"size": size, "timeout": limit, **asked}
        with translated():
            found = await self._client.search(index=indices, body=body, params=parameters)
            answer = msgspec.convert(found, form)
        answer.check_complete()
        return answer


def _sought(sought: DisputesSought) -> Filters:
    return [
        *_words(sought.words),
        *_any("status", sought.statuses),
        *_any("reason", sought.reasons),
        *_any("currency", sought.currencies),
        *_any("month", sought.months),
        *_any("amount_range", sought.amount_ranges),
        *_any("order_id", sought.order_ids),
        *_within("disputed_us", sought.time_from, sought.time_to),
    ]


def _happened(asked: AnalyticsAsked) -> dict[str, tuple[Json, str]]:
    """What disputes are counted for: by which condition, and at what time."""
    opened = (_in_window("disputed_at", asked), "disputed_at")
    is_closed = _in_window("closed_at", asked)
    decided = {
        status.value: (_all([{"term": {"status": status}}, is_closed]), "closed_at")
        for status in (DisputeStatus.WON, DisputeStatus.LOST)
    }
    return {"opened": opened, **decided}


# ── The language ──────────────────────────────────────────────────────────────────────────────────


def _all(filters: Filters) -> Json:
    return {"bool": {"filter": filters}}


def _either(*filters: Json) -> Json:
    return {"bool": {"should": list(filters), "minimum_should_match": 1}}


def _any(field: str, wanted: Sequence[str]) -> Filters:
    return [{"terms": {field: list(wanted)}}] if wanted else []


def _bounded(filters: Filters, bounds: Mapping[str, int]) -> Json:
    return _all([*filters, {"range": {"recorded_us": bounds}}] if bounds else filters)


def _words(words: Sequence[Word]) -> Filters:
    return [{"prefix" if is_beginning else "term": {"words": text}} for text, is_beginning in words]


def _within(field: str, time_from: datetime | None, time_to: datetime | None) -> Filters:
    bounds = {"gte": time_from, "lt": time_to}
    given = {name: microseconds(time) for name, time in bounds.items() if time is not None}
    return [{"range": {field: given}}] if given else []


def _in_window(field: str, asked: AnalyticsAsked) -> Json:
    """Bounds of intervals are whole milliseconds, as dates are here."""
    window = {"gte": asked.time_from, "lt": asked.time_to}
    bounds = {name: microseconds(time) // 1000 for name, time in window.items()}
    return {"range": {field: {**bounds, "format": "epoch_millis"}}}


def _terms(field: str, size: int, *, counted: int | None = None) -> Json:
    """The most frequent first, those of one count by value. `counted`: of how many at least."""
    return {"terms": {"field": field, "size": size, "shard_size": counted or size}}


def _by_time(asked: AnalyticsAsked, field: str, each: Json) -> Json:
    interval = {"field": field, "calendar_interval": asked.interval, "min_doc_count": 1}
    return {"by_time": {"date_histogram": interval, "aggs": each}}


_NEWEST = {"recorded_us": "desc"}

_AMOUNTS = {
    "by_currency": {
        **_terms("currency", CURRENCIES_MAX),
        "aggs": {
            "high": {"sum": {"field": "amount_high"}},
            "low": {"sum": {"field": "amount_low"}},
        },
    }
}
