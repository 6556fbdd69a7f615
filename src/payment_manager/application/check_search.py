"""Is search what the logs say? Watched all the time, told in full, proved on demand.

How to think about it: the watch is cheap and bounded, since a service does it for ever, whoever
projects. The proof has to hold still what moves: as the leader it brings search up to one moment
and compares what is there then, by count all of it, and whole a sample.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime

from payment_manager.application.build_search import PIECE, certain_disputes, lead, tell_of
from payment_manager.application.ports import (
    Backlog,
    Checkpoint,
    Clock,
    DisputeState,
    Document,
    EventTail,
    Moment,
    PortError,
    SearchIndex,
    SearchTelemetry,
    SetAside,
    Stretch,
    Unavailable,
    WholeLog,
)

LOOK_SECONDS = 2.0
"""For a look at either server: one that hangs is as good as away."""

LAG_SECONDS_MAX = 30.0
"""Above what a burst or a restart leaves behind: search answers, but somebody should know."""

Estimates = Callable[[], Awaitable[Mapping[Document, int]]]
"""About how many of each kind there are in PostgreSQL."""


# ── Watching ──────────────────────────────────────────────────────────────────────────────────────


class WatchSearch:
    """`trouble`: what keeps this process from projecting, if it does."""

    def __init__(
        self,
        tail: EventTail,
        index: SearchIndex,
        telemetry: SearchTelemetry,
        clock: Clock,
        trouble: Callable[[], str],
    ) -> None:
        self._tail = tail
        self._index = index
        self._telemetry = telemetry
        self._clock = clock
        self._trouble = trouble
        self._found = "not looked at yet"
        self._rejects = self._missed_events = 0

    async def checks(self) -> dict[str, str]:
        """For the readiness probe, from the last look: search takes nothing from the service."""
        wrong = self._trouble() or self._found
        return {"search": f"degraded: {wrong}" if wrong else "ok"}

    async def run_once(self) -> None:
        """Never raises, and ends within a few seconds."""
        lags, self._found = "", ""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                checkpoint = await self._tail.checkpoint()
                if checkpoint is not None:
                    lags = await self._look_at_lag(checkpoint)
            async with asyncio.timeout(LOOK_SECONDS):
                answering = await self._index.build()
            if checkpoint is None or answering != checkpoint.build:
                self._found = "is not built"
        except TimeoutError:
            self._found = "no answer in time"
        except PortError as error:
            self._found = str(error)
        self._found = self._found or lags
        degraded = bool(self._found or self._trouble())
        self._telemetry.search_health(degraded, self._rejects, self._missed_events)

    async def _look_at_lag(self, checkpoint: Checkpoint) -> str:
        backlog = await self._tail.backlog(checkpoint)
        age = age_of(backlog, self._clock.now())
        self._telemetry.search_lag(backlog.events, age)
        self._rejects = await self._tail.reject_count(checkpoint.build)
        self._missed_events = checkpoint.missed_events
        if age > LAG_SECONDS_MAX:
            return f"{backlog.events:,} events behind, by {age:.0f} s"
        return ""


def age_of(backlog: Backlog, now: datetime) -> float:
    """Of the oldest that waits, in seconds."""
    if backlog.oldest_at is None:
        return 0.0
    return max(0.0, (now - backlog.oldest_at).total_seconds())


# ── Telling ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Status:
    """`trouble`: why the search server could not be asked, or what it has can't answer; `documents`
    and `rows`, where they are known, of each kind. `led`, `built`: by any process, right now.
    """

    checkpoint: Checkpoint | None
    answering: str | None
    trouble: str
    backlog: Backlog | None
    age_seconds: float
    documents: Mapping[Document, int] | None
    rows: Mapping[Document, int]
    rejects: int
    is_led: bool
    is_being_built: bool

    @property
    def source(self) -> str:
        return "postgres" if self.trouble else "opensearch"


async def status(
    tail: EventTail, whole: WholeLog, index: SearchIndex, rows: Estimates, clock: Clock
) -> Status:
    """Nothing is read whole. Raises `Unavailable` where PostgreSQL is away."""
    checkpoint = await tail.checkpoint()
    backlog = await tail.backlog(checkpoint) if checkpoint else None
    answering, documents, trouble = None, None, ""
    try:
        async with asyncio.timeout(LOOK_SECONDS):
            answering = await index.build()
        if answering is None:
            trouble = "search is not built"
        elif checkpoint is None or checkpoint.build != answering:
            trouble = f"search has the build {answering}, which has no checkpoint"
        if answering is not None:
            async with asyncio.timeout(LOOK_SECONDS):
                documents = await index.counts()
    except TimeoutError:
        trouble = "no answer in time"
    except PortError as error:
        trouble = str(error)
    async with AsyncExitStack() as stack:
        leads = await stack.enter_async_context(tail.leading())
        builds = await stack.enter_async_context(whole.building())
    return Status(
        checkpoint=checkpoint,
        answering=answering,
        trouble=trouble,
        backlog=backlog,
        age_seconds=age_of(backlog, clock.now()) if backlog else 0.0,
        documents=documents,
        rows=await rows(),
        rejects=await tail.reject_count(checkpoint.build) if checkpoint else 0,
        is_led=not leads,
        is_being_built=not builds,
    )


# ── Proving ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class Proof:
    """`counts`: of each kind, the documents and what PostgreSQL has; `wrong` for people."""

    checkpoint: Checkpoint
    counts: dict[Document, tuple[int, int]] = field(default_factory=dict)
    compared: int = 0
    set_aside: int = 0
    wrong: list[str] = field(default_factory=list)


class NotBuilt(Unavailable):
    """There is nothing to prove."""


async def verify(tail: EventTail, whole: WholeLog, index: SearchIndex, sample: int) -> Proof:
    """All counts as of one moment, and about `sample` documents of each kind whole. Whoever
    projects waits meanwhile. Raises `Unavailable`.
    """
    async with lead(tail):
        following = _Following(tail, index, await _proved_from(tail, index))
        moment = await whole.moment()
        await following.upto(moment)
        proof = Proof(following.checkpoint)
        counts = await index.counts()
        await following.save()
        aside = await tail.rejects(following.checkpoint.build)
        proof.set_aside = len(aside)
        _compare_counts(proof, counts, moment.counts, aside)
        await _compare_sample(proof, following, whole, index, aside, sample)
    return proof


async def _proved_from(tail: EventTail, index: SearchIndex) -> Checkpoint:
    checkpoint, answering = await tail.checkpoint(), await index.build()
    if checkpoint is None or checkpoint.build != answering:
        raise NotBuilt("search is not built: payment-manager search reindex")
    return checkpoint


class _Following:
    """The projector's work, done by who holds the lead."""

    def __init__(self, tail: EventTail, index: SearchIndex, checkpoint: Checkpoint) -> None:
        self._tail = tail
        self._index = index
        self._saved = self.checkpoint = checkpoint
        self._rejects: list[SetAside] = []
        self._uncertain: list[DisputeState] = []

    async def upto(self, moment: Moment | None = None) -> set[tuple[Document, str]]:
        """Bring search up to this moment, or to now; which documents that concerned."""
        concerned: set[tuple[Document, str]] = set()
        while True:
            stretch = await self._tail.after(self.checkpoint, PIECE, upto=moment)
            disputes = stretch.disputes
            if moment is not None:
                disputes, uncertain = certain_disputes(stretch)
                self._uncertain += uncertain
            self._rejects += await self._index.write(stretch.events, stretch.orders, disputes)
            self.checkpoint = stretch.checkpoint
            concerned |= _documents_of(stretch)
            if stretch.is_last:
                await self._index.refresh()
                return concerned

    async def save(self) -> None:
        """All that was done is done for good."""
        self._rejects += await self._index.write((), (), self._uncertain)
        await self._index.refresh()
        tell_of(self._rejects)
        if not await self._tail.save(self._saved, self.checkpoint, self._rejects):
            raise Unavailable("another process moved the checkpoint: try again")
        self._saved, self._rejects, self._uncertain = self.checkpoint, [], []


def _documents_of(stretch: Stretch) -> set[tuple[Document, str]]:
    return {
        *(
            (
                Document.DISPUTE_EVENT if event.dispute_id else Document.ORDER_EVENT,
                str(event.event_id),
            )
            for event in stretch.events
        ),
        *((Document.ORDER, order.order_id) for order in stretch.orders),
        *((Document.DISPUTE, str(dispute.dispute_id)) for dispute in stretch.disputes),
    }


def _compare_counts(
    proof: Proof,
    found: Mapping[Document, int],
    expected: Mapping[Document, int],
    aside: Sequence[SetAside],
) -> None:
    refused = Counter(each.document for each in aside)
    for kind in Document:
        proof.counts[kind] = (found[kind], expected[kind])
        # Of a row one version may have been refused, and another one be there.
        may_lack = refused[kind]
        if kind in (Document.ORDER_EVENT, Document.DISPUTE_EVENT):
            may_lack += proof.checkpoint.missed_events
        if not expected[kind] - may_lack <= found[kind] <= expected[kind]:
            words = f", {refused[kind]:,} set aside" if refused[kind] else ""
            proof.wrong.append(
                f"{kind}: {found[kind]:,} documents, {expected[kind]:,} in PostgreSQL{words}"
            )


async def _compare_sample(
    proof: Proof,
    following: _Following,
    whole: WholeLog,
    index: SearchIndex,
    aside: Sequence[SetAside],
    size: int,
) -> None:
    await following.upto()
    await following.save()
    events, orders, disputes = await whole.sample(size)
    differing = await index.differing(events, orders, disputes)
    proof.compared = len(events) + len(orders) + len(disputes)
    # What changed after search was brought up to date, and before it was compared, must differ.
    changed = await following.upto()
    await following.save()
    excused = changed | {(each.document, each.document_id) for each in aside}
    proof.wrong += [
        f"{document} {id}: {what}"
        for document, id, what in differing
        if (document, id) not in excused
    ]
