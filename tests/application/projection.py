"""A log, a table and an index in memory, for faults that real servers don't have on demand.

How to think about it: the log is a list, and a checkpoint's `seen` says how many of it. The index
keeps what was written apart from what is visible, as the real one does. Anything can be made to
fail: `fail` takes the name of a method and what it raises, once.
"""

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from payment_manager.application.ports import (
    AsOf,
    Backlog,
    Checkpoint,
    DisputeState,
    Document,
    IndexTrouble,
    LoggedEvent,
    Moment,
    OrderState,
    PortError,
    SetAside,
    Stretch,
)

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
USER = UUID(int=1)


def event(number: int, order_id: str, sequence: int) -> LoggedEvent:
    at = START + timedelta(seconds=number)
    return LoggedEvent(
        UUID(int=number), order_id, None, sequence, "order_created", None, "{}", at, "", number
    )


def order(order_id: str, sequence: int) -> OrderState:
    return OrderState(
        order_id, sequence, USER, "created", False, False, 100, "USD", None, None, None, None,
        START, START, START,
    )  # fmt: skip


class Faults:
    """`fail("write", error)`: the next call of `write` raises it, before it does anything."""

    def __init__(self) -> None:
        self._faults: dict[str, list[Exception]] = {}
        self.calls = Counter[str]()

    def fail(self, method: str, *errors: Exception) -> None:
        self._faults.setdefault(method, []).extend(errors)

    def called(self, method: str) -> None:
        self.calls[method] += 1
        if self._faults.get(method):
            raise self._faults[method].pop(0)


@dataclass
class Log(Faults):
    """`EventTail` and `WholeLog` over one list of events."""

    events_: list[LoggedEvent] = field(default_factory=list)
    stored: Checkpoint | None = None
    being_built: str | None = None
    rejected: list[SetAside] = field(default_factory=list)
    led: bool = False
    built: bool = False

    def __post_init__(self) -> None:
        Faults.__init__(self)

    def append(self, *order_ids: str) -> None:
        for order_id in order_ids:
            sequence = 1 + sum(each.order_id == order_id for each in self.events_)
            self.events_.append(event(len(self.events_) + 1, order_id, sequence))

    def at(self, count: int, build: str) -> Checkpoint:
        return Checkpoint(build, str(count), AsOf(START, count, 0))

    def states(self, events: Sequence[LoggedEvent]) -> list[OrderState]:
        touched = {each.order_id for each in events}
        return [
            order(order_id, sum(each.order_id == order_id for each in self.events_))
            for order_id in sorted(touched)
        ]

    # ── The tail ──────────────────────────────────────────────────────────────────────────────────

    async def checkpoint(self) -> Checkpoint | None:
        self.called("checkpoint")
        return self.stored

    async def after(
        self, checkpoint: Checkpoint, limit: int, *, upto: Moment | None = None
    ) -> Stretch:
        self.called("after")
        first, end = int(checkpoint.seen), int(upto.seen) if upto else len(self.events_)
        last = max(first, min(first + limit, end))
        some = self.events_[first:last]
        new = replace(self.at(last, checkpoint.build), missed_events=checkpoint.missed_events)
        return Stretch(some, self.states(some), [], new, is_last=last >= end)

    async def save(self, old: Checkpoint, new: Checkpoint, rejects: Sequence[SetAside]) -> bool:
        self.called("save")
        if self.stored != old:
            return False
        self.stored = new
        self.rejected += rejects
        return True

    async def backlog(self, checkpoint: Checkpoint) -> Backlog:
        self.called("backlog")
        waiting = self.events_[int(checkpoint.seen) :]
        return Backlog(len(waiting), waiting[0].created_at if waiting else None)

    async def rejects(self, build: str) -> Sequence[SetAside]:
        return self.rejected

    async def reject_count(self, build: str) -> int:
        return len(self.rejected)

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[bool]:
        self.called("leading")
        if self.led:
            yield False
            return
        self.led = True
        try:
            yield True
        finally:
            self.led = False

    # ── The whole ─────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def building(self) -> AsyncIterator[bool]:
        if self.built:
            yield False
            return
        self.built = True
        try:
            yield True
        finally:
            self.built = False

    async def begin(self, build: str) -> Checkpoint:
        self.called("begin")
        self.being_built = build
        return self.at(len(self.events_), build)

    async def events(self) -> AsyncGenerator[Sequence[LoggedEvent], None]:
        self.called("events")
        for at in range(0, len(self.events_), 3):
            yield self.events_[at : at + 3]

    async def orders(self) -> AsyncGenerator[Sequence[OrderState], None]:
        yield self.states(self.events_)

    async def disputes(self) -> AsyncGenerator[Sequence[DisputeState], None]:
        yield []

    async def moment(self) -> Moment:
        self.called("moment")
        orders = {each.order_id for each in self.events_}
        counts = {
            Document.ORDER_EVENT: len(self.events_),
            Document.DISPUTE_EVENT: 0,
            Document.ORDER: len(orders),
            Document.DISPUTE: 0,
        }
        return Moment(str(len(self.events_)), AsOf(START, len(self.events_), 0), counts)

    async def finish(self, checkpoint: Checkpoint, rejects: Sequence[SetAside]) -> None:
        self.called("finish")
        self.stored, self.being_built, self.rejected = checkpoint, None, list(rejects)

    async def abandon(self) -> None:
        self.called("abandon")
        self.being_built = None

    async def sample(
        self, size: int
    ) -> tuple[Sequence[LoggedEvent], Sequence[OrderState], Sequence[DisputeState]]:
        self.called("sample")
        return self.events_[:size], self.states(self.events_)[:size], []


Found = dict[tuple[Document, str], int]


@dataclass
class Index(Faults):
    """`SearchIndex`: of each build what is written and what is visible, by id its version."""

    answering: str | None = None
    written: dict[str, Found] = field(default_factory=dict)
    visible: dict[str, Found] = field(default_factory=dict)
    poison: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        Faults.__init__(self)

    async def build(self) -> str | None:
        self.called("build")
        return self.answering

    async def write(
        self,
        events: Sequence[LoggedEvent],
        orders: Sequence[OrderState],
        disputes: Sequence[DisputeState],
        *,
        build: str | None = None,
    ) -> Sequence[SetAside]:
        self.called("write")
        there = self.written.get(build or self.answering or "")
        if there is None:
            raise IndexTrouble("the index is gone")
        aside = []
        documents: list[tuple[Document, str, int]] = [
            *((Document.ORDER_EVENT, str(each.event_id), each.position) for each in events),
            *((Document.ORDER, each.order_id, each.sequence) for each in orders),
        ]
        for document, id, version in documents:
            if id in self.poison:
                aside.append(SetAside(document, id, "poison", START))
            else:
                there[document, id] = max(version, there.get((document, id), 0))
        return aside

    async def refresh(self, *, build: str | None = None) -> None:
        self.called("refresh")
        name = build or self.answering or ""
        self.visible[name] = dict(self.written[name])

    async def start_build(self, build: str) -> None:
        self.called("start_build")
        for name in set(self.written) - {self.answering}:
            del self.written[name]
        self.written[build] = {}

    async def counts(self, *, build: str | None = None) -> Mapping[Document, int]:
        self.called("counts")
        counted = Counter(document for document, _ in self.visible[build or self.answering or ""])
        return {document: counted[document] for document in Document}

    async def answer_from(self, build: str) -> None:
        self.called("answer_from")
        if build not in self.written:
            raise IndexTrouble("the index is gone")
        for name in set(self.written) - {build}:
            del self.written[name]
        self.answering = build

    async def differing(
        self,
        events: Sequence[LoggedEvent],
        orders: Sequence[OrderState],
        disputes: Sequence[DisputeState],
    ) -> Sequence[tuple[Document, str, str]]:
        there = self.written[self.answering or ""]
        wanted = [
            *((Document.ORDER_EVENT, str(each.event_id), each.position) for each in events),
            *((Document.ORDER, each.order_id, each.sequence) for each in orders),
        ]
        return [
            (document, id, "is not as it was recorded")
            for document, id, version in wanted
            if there.get((document, id)) != version
        ]

    @property
    def shown(self) -> Found:
        return self.visible[self.answering or ""]


class Told:
    """`SearchTelemetry` that remembers."""

    def __init__(self) -> None:
        self.events = 0
        self.lag: tuple[int, float] | None = None
        self.health: tuple[bool, int, int] | None = None

    def projected(self, events: int, documents: int, seconds: float) -> None:
        self.events += events

    def search_lag(self, events: int, seconds: float) -> None:
        self.lag = (events, seconds)

    def search_health(self, degraded: bool, rejects: int, missed_events: int) -> None:
        self.health = (degraded, rejects, missed_events)

    def search_answered(self, source: str, question: str, seconds: float) -> None: ...


def all_of(log: Log) -> Found:
    """What the index shall hold of this log."""
    return {
        **{(Document.ORDER_EVENT, str(each.event_id)): each.position for each in log.events_},
        **{(Document.ORDER, each.order_id): each.sequence for each in log.states(log.events_)},
    }


AWAY: PortError = IndexTrouble("no connection")
