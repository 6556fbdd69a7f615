"""Search follows the logs, stretch by stretch, and its checkpoint follows what was written.

How to think about it: a stretch is read, written and made visible, and only then is the checkpoint
moved; whatever fails in between is done again, and changes nothing that was done. One process leads
at a time, which saves work; what makes two of them harmless is that documents never go back and
that the checkpoint moves only from where it was thought to be.
"""

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from time import monotonic

import structlog

from payment_manager.application.build_search import (
    PIECE,
    BuildFailed,
    BuildSearch,
    BuildUnderWay,
    let_answer,
    tell_of,
)
from payment_manager.application.pace import Pace
from payment_manager.application.ports import (
    Checkpoint,
    EventTail,
    IndexTrouble,
    PortError,
    SearchIndex,
    SearchTelemetry,
    SetAside,
)

REFRESH_SECONDS = 0.5
"""Between two refreshes while much comes in: each makes a segment, and costs the server the same
for one document as for a thousand.
"""

REFRESH_PRESSED_SECONDS = 5.0
"""While requests take all there is, and search falls behind anyway. OpenSearch used half a
processor then; this and the projector's smaller share made a seventh of it.
"""

POLL_SECONDS = 0.15
"""Between two looks for new events while none come: one statement each."""

STAND_BY_SECONDS = 1.0
"""Between two tries to lead, each of which is a connection."""

LEAD_SECONDS = 2.0
"""Then, when what was written is visible, the lead is given up for a moment: a new build, or a
proof, waits for it. The price is a connection.
"""

HAND_OVER_SECONDS = 0.2
"""For so long: whoever waits asks several times in it."""

BUILD_AGAIN_SECONDS = 300.0
"""What was built and could not be proved needs somebody who looks; the next one may be whole."""

LOOK_SECONDS = 5.0
"""Between two looks at which build answers: an index may be deleted while nothing is written."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Lead:
    """While this process leads. `saved`: the stored checkpoint; `written`: what the index has, and
    may not show yet.
    """

    stack: AsyncExitStack
    since: float
    saved: Checkpoint
    written: Checkpoint
    looked_at: float
    rejects: list[SetAside] = field(default_factory=list)


class Project:
    """`run_once`, and what those who watch may ask of it."""

    def __init__(
        self,
        tail: EventTail,
        index: SearchIndex,
        build: BuildSearch,
        telemetry: SearchTelemetry,
        pace: Pace,
    ) -> None:
        self._tail = tail
        self._index = index
        self._build = build
        self._telemetry = telemetry
        self._pace = pace
        self._lead: _Lead | None = None
        self._shown_at = 0.0
        self._failed: BuildFailed | None = None
        self._build_not_before = 0.0
        self._led_before = False
        self.is_behind = False
        """Whether more waited when it last looked."""
        self.trouble = ""
        """What kept the last round from its work, in words for people."""

    @property
    def leads(self) -> bool:
        """Whether this process is the one that projects."""
        return self._lead is not None

    @property
    def pause_seconds(self) -> float:
        """For how long another look is not worth it. What comes until the next refresh is one
        stretch: seen no later, and cheaper for everybody.
        """
        if self.is_behind:
            return 0.0
        if self._lead is None:
            return STAND_BY_SECONDS
        return max(POLL_SECONDS, self._shown_at + REFRESH_SECONDS - monotonic())

    async def run_once(self) -> int:
        """How many events were projected; 0: nothing is to be done, or not by this process.

        Raises `PortError`: the checkpoint is where it was, and the next round goes on from there.
        """
        self.is_behind = False
        try:
            lead = self._lead
            if (
                lead is not None
                and lead.saved == lead.written
                and monotonic() - lead.since > LEAD_SECONDS
            ):
                await self.rest()
                await asyncio.sleep(HAND_OVER_SECONDS)
            if self._lead is None:
                await self._take_the_lead()
            events = 0 if self._lead is None else await self._follow(self._lead)
        except BaseException as error:
            # Whether it still leads is not known now, nor what was written.
            self.trouble = str(error) if isinstance(error, PortError) else type(error).__name__
            await self.rest()
            raise
        self.trouble = ""
        return events

    async def rest(self) -> None:
        """Lead no more; what was written and not shown yet is written again."""
        lead, self._lead = self._lead, None
        if lead is not None:
            # A connection that is broken has given the lead up.
            with suppress(PortError):
                await lead.stack.aclose()

    async def _take_the_lead(self) -> None:
        async with AsyncExitStack() as stack:
            if not await stack.enter_async_context(self._tail.leading()):
                return
            checkpoint, answering = await self._tail.checkpoint(), await self._index.build()
            if checkpoint is not None and (
                checkpoint.build == answering or await self._lets_answer(checkpoint.build)
            ):
                now = monotonic()
                kept = stack.pop_all()
                self._lead = _Lead(kept, now, checkpoint, checkpoint, looked_at=now)
                if not self._led_before:
                    self._led_before = True
                    await self._build.clean_up()
                return
        # Not as the leader: a build takes the lead itself, at its end.
        await self._build_anew(
            "there is none" if answering is None else "it is not the one of the checkpoint"
        )

    async def _lets_answer(self, build: str) -> bool:
        """Whether it is there: what was built and proved just before its process died."""
        try:
            await let_answer(self._index, build)
        except IndexTrouble:
            return False
        return await self._index.build() == build

    async def _build_anew(self, why: str) -> None:
        if self._failed is not None and monotonic() < self._build_not_before:
            raise self._failed
        try:
            await self._build.run(why)
        except BuildUnderWay:
            raise
        except BuildFailed as failure:
            self._failed, self._build_not_before = failure, monotonic() + BUILD_AGAIN_SECONDS
            raise

    async def _follow(self, lead: _Lead) -> int:
        if monotonic() - lead.looked_at > LOOK_SECONDS:
            lead.looked_at = monotonic()
            if await self._index.build() != lead.saved.build:
                await self.rest()  # and find out at the next round
                return 0
        began = monotonic()
        stretch = await self._tail.after(lead.written, PIECE)
        self.is_behind = not stretch.is_last
        if stretch.events:
            aside = await self._index.write(stretch.events, stretch.orders, stretch.disputes)
            tell_of(aside)
            lead.rejects += aside
        if stretch.events or stretch.checkpoint.missed_events != lead.written.missed_events:
            # Not without news: each checkpoint is a transaction, and would be news itself.
            lead.written = stretch.checkpoint
        is_pressed = self.is_behind and self._pace.is_pressed
        after = REFRESH_PRESSED_SECONDS if is_pressed else REFRESH_SECONDS
        if lead.written != lead.saved and monotonic() - self._shown_at >= after:
            await self._show(lead)
        if stretch.events:
            documents = len(stretch.events) + len(stretch.orders) + len(stretch.disputes)
            self._telemetry.projected(len(stretch.events), documents, monotonic() - began)
        return len(stretch.events)

    async def _show(self, lead: _Lead) -> None:
        """Make what was written visible, and only then say that it is there."""
        if lead.written == lead.saved:
            return
        self._shown_at = monotonic()
        await self._index.refresh()
        if await self._tail.save(lead.saved, lead.written, lead.rejects):
            lead.saved, lead.rejects = lead.written, []
        else:
            log.info("search_checkpoint_moved_by_another")
            await self.rest()
