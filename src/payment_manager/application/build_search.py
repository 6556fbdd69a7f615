"""Search is built from nothing, beside the one that answers, and takes its place when it is proved.

How to think about it: the tail keeps everything that comes from the build's first moment on, so all
days and rows can be read slowly, in any order, while the service writes. What is built is counted
as of one moment and must have as many documents as PostgreSQL has events and rows; only then, in
one step, questions go to it. Whatever ends a build before that leaves the old one answering.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass
from secrets import token_hex
from time import monotonic
from typing import TypeVar

import structlog

from payment_manager.application.pace import Pace
from payment_manager.application.ports import (
    Checkpoint,
    Clock,
    DisputeState,
    Document,
    EventTail,
    IndexTrouble,
    LoggedEvent,
    Moment,
    OrderState,
    PortError,
    SearchIndex,
    SetAside,
    Stretch,
    WholeLog,
)

PIECE = 1000
"""Events at once: more cost less each, and what is done in one go takes longer."""

PATIENCE_SECONDS = 60.0
"""For a search server that is started again under a build: hours of work are not thrown away for
its half a minute.
"""

LEAD_ASK_SECONDS = 0.05
"""Whoever leads gives the lead up every two seconds, for a moment: asked several times in it."""

LEAD_WAIT_SECONDS = 60.0

BUILD_WAIT_SECONDS = 1.0
"""Whoever only looks whether there is a build is taken for one, for a moment."""

TELL_SECONDS = 10.0
"""Between two lines in the log."""

Progress = Callable[[str, int], None]
"""What is done, and how much of it so far."""

Row = TypeVar("Row")

log = structlog.get_logger()


class BuildFailed(PortError):
    """Nothing was changed for those who ask; the text is for people."""


class BuildUnderWay(BuildFailed):
    """Another process builds."""


@dataclass(frozen=True, slots=True)
class Built:
    """`counts`: documents of each kind; `set_aside`: how many the index would not take."""

    build: str
    counts: Mapping[Document, int]
    set_aside: int
    seconds: float


def tell_of(aside: Sequence[SetAside]) -> None:
    for each in aside:
        log.error(
            "document_set_aside", document=each.document, id=each.document_id, reason=each.error
        )


def no_progress(phase: str, done: int) -> None:
    """Nobody looks."""


class BuildSearch:
    """`run`, beside whoever projects meanwhile."""

    def __init__(
        self, tail: EventTail, whole: WholeLog, index: SearchIndex, clock: Clock, pace: Pace
    ) -> None:
        self._tail = tail
        self._whole = whole
        self._index = index
        self._clock = clock
        self._pace = pace

    async def run(self, why: str, on_progress: Progress = no_progress) -> Built:
        """Raises `BuildUnderWay`, `BuildFailed` where the counts differ, `Unavailable`."""
        async with _asked(self._whole.building, BUILD_WAIT_SECONDS) as builds:
            if not builds:
                raise BuildUnderWay("search is being built by another process: wait for its end")
            began = monotonic()
            build = f"{self._clock.now():%Y%m%dt%H%M%S}-{token_hex(2)}"
            writing = _Writing(self._index, build, self._pace, on_progress)
            log.info("search_build_began", build=build, reason=why)
            try:
                counts = await self._build(build, writing)
            except BaseException:
                # What is left of the indices goes with the next build.
                with suppress(PortError):
                    await self._whole.abandon()
                raise
            built = Built(build, counts, len(writing.rejects), monotonic() - began)
            named = {f"{kind}s": counts[kind] for kind in Document}
            log.info("search_built", build=build, seconds=round(built.seconds, 1), **named)
            return built

    async def clean_up(self) -> None:
        """Forget a build whose process died: else the logs' batches are kept for it. Raises
        `Unavailable`.
        """
        async with self._whole.building() as nobody_builds:
            if nobody_builds:
                await self._whole.abandon()

    async def _build(self, build: str, writing: "_Writing") -> Mapping[Document, int]:
        await self._index.start_build(build)
        checkpoint = await self._whole.begin(build)
        async with aclosing(self._whole.events()) as events:
            async for some_events in events:
                await writing.write("events", events=some_events)
        async with aclosing(self._whole.orders()) as orders:
            async for some_orders in orders:
                await writing.write("orders", orders=some_orders)
        async with aclosing(self._whole.disputes()) as disputes:
            async for some_disputes in disputes:
                await writing.write("disputes", disputes=some_disputes)
        checkpoint = await self._catch_up(checkpoint, writing)
        moment = await self._whole.moment()
        checkpoint = await self._catch_up(checkpoint, writing, upto=moment)
        counts = await self._prove(build, moment, writing)
        async with lead(self._tail):
            await writing.write("news", disputes=writing.uncertain)
            checkpoint = await self._catch_up(checkpoint, writing)
            await self._index.refresh(build=build)
            # First this: if it ends here, whoever leads next lets it answer.
            await self._whole.finish(checkpoint, list(writing.rejects.values()))
            try:
                await let_answer(self._index, build)
            except IndexTrouble as trouble:
                raise BuildFailed(
                    f"{build} is built and proved and does not answer yet ({trouble}): whoever"
                    " projects lets it answer"
                ) from None
        return counts

    async def _catch_up(
        self, checkpoint: Checkpoint, writing: "_Writing", upto: Moment | None = None
    ) -> Checkpoint:
        while True:
            stretch = await self._tail.after(checkpoint, PIECE, upto=upto)
            disputes, uncertain = stretch.disputes, list[DisputeState]()
            if upto is not None:
                disputes, uncertain = certain_disputes(stretch)
            await writing.write(
                "news", events=stretch.events, orders=stretch.orders, disputes=disputes
            )
            writing.uncertain += uncertain
            checkpoint = stretch.checkpoint
            if stretch.is_last:
                return checkpoint

    async def _prove(
        self, build: str, moment: Moment, writing: "_Writing"
    ) -> Mapping[Document, int]:
        await self._index.refresh(build=build)
        counts = await self._index.counts(build=build)
        aside = Counter(document for document, _ in writing.rejects)
        wrong = [
            f"{kind}: {counts[kind]:,} documents"
            + (f" and {aside[kind]:,} set aside" if aside[kind] else "")
            + f", {moment.counts[kind]:,} in PostgreSQL"
            for kind in Document
            if counts[kind] + aside[kind] != moment.counts[kind]
        ]
        if wrong:
            raise BuildFailed(f"what was built is not what there is: {'; '.join(wrong)}")
        return counts


def certain_disputes(stretch: Stretch) -> tuple[list[DisputeState], list[DisputeState]]:
    """Of a stretch up to a moment: the disputes that were there at that moment, and the others.

    Rows are read as they are by now. An order's event brings its dispute along, which may have been
    opened since; what was opened by then and is new has an event of its own in the stretch.
    """
    known = {event.dispute_id for event in stretch.events}
    there = [each for each in stretch.disputes if each.dispute_id in known]
    return there, [each for each in stretch.disputes if each.dispute_id not in known]


class _Writing:
    """Documents into one build: in pieces, patiently, and with a list of what is refused."""

    def __init__(self, index: SearchIndex, build: str, pace: Pace, on_progress: Progress) -> None:
        self._index = index
        self._build = build
        self._pace = pace
        self._on_progress = on_progress
        self._done = Counter[str]()
        self._told_at = monotonic()
        self.rejects: dict[tuple[Document, str], SetAside] = {}
        self.uncertain: list[DisputeState] = []
        """To be written when all is counted."""

    async def write(
        self,
        phase: str,
        *,
        events: Sequence[LoggedEvent] = (),
        orders: Sequence[OrderState] = (),
        disputes: Sequence[DisputeState] = (),
    ) -> None:
        for piece in _pieces(events):
            await self._patiently(piece, (), ())
        for some_orders in _pieces(orders):
            await self._patiently((), some_orders, ())
        for some_disputes in _pieces(disputes):
            await self._patiently((), (), some_disputes)
        self._done[phase] += len(events) + len(orders) + len(disputes)
        self._on_progress(phase, self._done[phase])
        if monotonic() - self._told_at > TELL_SECONDS:
            self._told_at = monotonic()
            log.info("search_build_goes_on", build=self._build, **self._done)

    async def _patiently(
        self,
        events: Sequence[LoggedEvent],
        orders: Sequence[OrderState],
        disputes: Sequence[DisputeState],
    ) -> None:
        deadline, aside = monotonic() + PATIENCE_SECONDS, None
        while aside is None:
            try:
                aside = await self._index.write(events, orders, disputes, build=self._build)
            except IndexTrouble as trouble:
                if monotonic() > deadline:
                    raise
                log.warning("search_build_waits", reason=str(trouble))
                await asyncio.sleep(random.uniform(0.5, 1.5))
        if self.rejects:
            # A newer version of a row may be taken where an older one was not.
            for order in orders:
                self.rejects.pop((Document.ORDER, order.order_id), None)
            for dispute in disputes:
                self.rejects.pop((Document.DISPUTE, str(dispute.dispute_id)), None)
        tell_of(aside)
        self.rejects |= {(each.document, each.document_id): each for each in aside}
        await self._pace.turn()


def _pieces(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for at in range(0, len(rows), PIECE):
        yield rows[at : at + PIECE]


async def let_answer(index: SearchIndex, build: str) -> None:
    """What is asked is this build from now on, which has the checkpoint. Raises `IndexTrouble`
    where it isn't, and may be a moment later.
    """
    try:
        await index.answer_from(build)
    except IndexTrouble as trouble:
        # Of an answer that was lost, or of what was to be deleted afterwards.
        if await index.build() != build:
            raise
        log.warning("old_search_not_deleted", reason=str(trouble))


@asynccontextmanager
async def lead(tail: EventTail) -> AsyncGenerator[None, None]:
    """Nobody else projects meanwhile. Raises `BuildFailed` where another keeps the lead."""
    async with _asked(tail.leading, LEAD_WAIT_SECONDS) as leads:
        if not leads:
            raise BuildFailed("another process projects and does not give up the lead")
        yield


@asynccontextmanager
async def _asked(
    leading: Callable[[], AbstractAsyncContextManager[bool]], seconds: float
) -> AsyncGenerator[bool, None]:
    """Whether this process is the one, once it was asked for so long."""
    deadline = monotonic() + seconds
    async with AsyncExitStack() as stack:
        while not (leads := await stack.enter_async_context(leading())):
            await stack.aclose()
            if monotonic() > deadline:
                break
            await asyncio.sleep(LEAD_ASK_SECONDS)
        yield leads
