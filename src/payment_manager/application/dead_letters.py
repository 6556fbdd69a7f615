"""Dead letters, worked through by operators: which are open, and what a replay or a drop does.

How to think about it: the letters are a topic that only grows, and what was done about them is a
table; a letter that isn't in the table is open. Every question is one walk over the topic, a chunk
at a time, so nothing depends on how many there are. A rehearsal takes the same steps as the real
thing, up to the one that changes something.
"""

from collections import Counter
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from payment_manager.application.ports import (
    Clock,
    DeadLetterActions,
    DeadLetterBox,
    Handled,
    Handling,
    Letter,
    LetterId,
    LetterRead,
    Message,
    Space,
    Unavailable,
)


class Contents(Protocol):
    """What can be said of a message by reading it."""

    def fault(self, message: Message, space: Space) -> str | None:
        """Why a consumer would dead-letter it before anything is applied; None: it is readable."""
        ...

    def order_id(self, message: Message) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Shown:
    """A letter for people to see. `copies`: how often it stands in the topic."""

    letter: Letter
    order_id: str | None
    past: Sequence[Handled]
    copies: int = 1


@dataclass(slots=True)
class Listing:
    """The oldest letters, and how many are open by space and error class."""

    shown: list[Shown] = field(default_factory=list)
    open: Counter[tuple[Space, str]] = field(default_factory=Counter)
    closed: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """These letters, else all that are open, or those of an error class."""

    ids: Collection[LetterId] = ()
    error_class: str | None = None


@dataclass(frozen=True, slots=True)
class By:
    actor: str
    reason: str


class Verdict(StrEnum):
    READY = "ready"  # a rehearsal's: it would be done
    DONE = "done"
    COPY = "copy"  # of one that is ready or done, and goes with it
    MISSING = "missing"
    EARLIER = "earlier"  # somebody did it before
    UNREADABLE = "unreadable"  # it would only come back, so it stays
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Step:
    """What became of a letter. `handled`: what was done about it, now or earlier; `fault`: why it
    is unreadable still, or what kept it from being replayed.
    """

    id: LetterId
    verdict: Verdict
    letter: Letter | None = None
    order_id: str | None = None
    fault: str | None = None
    handled: Handled | None = None


class DeadLetterTriage:
    def __init__(
        self, box: DeadLetterBox, actions: DeadLetterActions, clock: Clock, contents: Contents
    ) -> None:
        self._box = box
        self._actions = actions
        self._clock = clock
        self._contents = contents

    async def listing(self, spaces: Collection[Space], limit: int, with_closed: bool) -> Listing:
        """The oldest `limit` letters; copies of one are one. Raises `Unavailable`."""
        listing, copies = Listing(), Counter[bytes]()
        for space in spaces:
            async with aclosing(self._box.letters(space)) as chunks:
                async for chunk in chunks:
                    past = await self._actions.past([letter for letter, _ in chunk])
                    for read in chunk:
                        self._add(listing, copies, read, past.get(read.letter.id, ()), with_closed)
                    if len(listing.shown) > 2 * limit:
                        listing.shown = _oldest(listing.shown, limit)
        listing.shown = [
            replace(shown, copies=copies[_group(shown.letter, shown.past)])
            for shown in _oldest(listing.shown, limit)
        ]
        return listing

    def _add(
        self,
        listing: Listing,
        copies: Counter[bytes],
        read: LetterRead,
        past: Sequence[Handled],
        with_closed: bool,
    ) -> None:
        letter, message = read
        group = _group(letter, past)
        copies[group] += 1
        if copies[group] > 1:
            return
        if past:
            listing.closed += 1
        else:
            listing.open[letter.id.space, letter.error_class] += 1
        if with_closed or not past:
            listing.shown.append(Shown(letter, self._contents.order_id(message), past))

    async def letter(self, id: LetterId) -> tuple[Shown, Message] | None:
        """One letter with its message and all that was done about it. Raises `Unavailable`."""
        read = await self._box.letter(id)
        if read is None:
            return None
        letter, message = read
        past = (await self._actions.past([letter])).get(id, ())
        return Shown(letter, self._contents.order_id(message), past), message

    def fault(self, message: Message, space: Space) -> str | None:
        return self._contents.fault(message, space)

    # ── Acting ────────────────────────────────────────────────────────────────────────────────────

    async def act(
        self, handling: Handling, chosen: Chosen, by: By | None
    ) -> AsyncGenerator[Step, None]:
        """Replay or drop what is chosen, or with nobody to do it (`by`) only rehearse that.

        Raises `Unavailable`; what the steps told until then is done and recorded.
        """
        named = await self._fingerprints(chosen.ids)
        for id in sorted(chosen.ids):
            if id not in named:
                yield Step(id, Verdict.MISSING)
        wanted = set(named.values())
        done: dict[bytes, Handled] = {}
        for space in {id.space for id in named} if chosen.ids else Space:
            async with aclosing(self._box.letters(space)) as chunks:
                async for chunk in chunks:
                    picked = [
                        read
                        for read in chunk
                        if not wanted or read.letter.fingerprint in wanted
                        if chosen.error_class in (None, read.letter.error_class)
                    ]
                    if picked:
                        for step in await self._act_on(picked, handling, chosen, by, done):
                            yield step

    async def _fingerprints(self, ids: Collection[LetterId]) -> dict[LetterId, bytes]:
        """Of those that are there: what is named stands for all its copies."""
        found: dict[LetterId, bytes] = {}
        for space in {id.space for id in ids}:
            async with aclosing(self._box.letters(space)) as chunks:
                async for chunk in chunks:
                    found |= {each.id: each.fingerprint for each, _ in chunk if each.id in ids}
        return found

    async def _act_on(
        self,
        picked: Sequence[LetterRead],
        handling: Handling,
        chosen: Chosen,
        by: By | None,
        done: dict[bytes, Handled],
    ) -> Sequence[Step]:
        letters = [letter for letter, _ in picked]
        if by is None:
            past = await self._actions.past(letters)
            steps = self._judged(picked, past, handling, chosen, done)
            at = self._clock.now()
            for step in steps:
                if step.letter is not None and step.verdict is Verdict.READY:
                    done[step.letter.fingerprint] = Handled(handling, "", "", at)
            return steps
        is_given_back = False
        try:
            # One operator at a time, from looking to the end: the second sees what the first did.
            async with self._actions.writing() as book:
                steps = self._judged(picked, await book.past(letters), handling, chosen, done)
                is_given_back = handling is Handling.REPLAYED
                steps = await self._carry_out(picked, steps, handling, by, done)
                await book.record(
                    [
                        (step.letter, step.handled)
                        for step in steps
                        if step.letter is not None and step.handled is not None
                        if step.verdict in (Verdict.DONE, Verdict.COPY)
                    ]
                )
        except Unavailable as unavailable:
            if not is_given_back:
                raise
            raise Unavailable(
                f"up to {len(picked)} letters were replayed, and that could not be recorded"
                f" ({unavailable}): they stay open, and replaying them again is harmless"
            ) from unavailable
        return steps

    def _judged(
        self,
        picked: Sequence[LetterRead],
        past: Mapping[LetterId, Sequence[Handled]],
        handling: Handling,
        chosen: Chosen,
        done: Mapping[bytes, Handled],
    ) -> list[Step]:
        """What is to be done about each; those that are no concern of it are left out."""
        steps: list[Step] = []
        now: set[bytes] = set(done)
        for letter, message in picked:
            is_named = letter.id in chosen.ids
            step = Step(letter.id, Verdict.READY, letter, self._contents.order_id(message))
            earlier = _in_the_way(handling, past.get(letter.id, ()), is_named)
            if earlier is not None:
                if is_named:
                    steps.append(replace(step, verdict=Verdict.EARLIER, handled=earlier))
                continue
            if handling is Handling.REPLAYED:
                step = replace(step, fault=self._contents.fault(message, letter.id.space))
            if letter.fingerprint in now:
                step = replace(step, verdict=Verdict.COPY)
            elif step.fault is not None and not chosen.ids:
                # Many at once would stop the consumer, which takes them for a bad deployment.
                step = replace(step, verdict=Verdict.UNREADABLE)
            else:
                now.add(letter.fingerprint)
            steps.append(step)
        return steps

    async def _carry_out(
        self,
        picked: Sequence[LetterRead],
        steps: Sequence[Step],
        handling: Handling,
        by: By,
        done: dict[bytes, Handled],
    ) -> list[Step]:
        messages = {letter.id: message for letter, message in picked}
        ready = [step for step in steps if step.verdict is Verdict.READY]
        ends: Sequence[tuple[int, int] | str | None] = [None] * len(ready)
        if ready and handling is Handling.REPLAYED:
            ends = await self._box.give_back(
                ready[0].id.space, [messages[step.id] for step in ready]
            )
        at, faults = self._clock.now(), dict[bytes, str]()
        for step, end in zip(ready, ends, strict=True):
            assert step.letter is not None
            if isinstance(end, str):
                faults[step.letter.fingerprint] = end
            else:
                done[step.letter.fingerprint] = Handled(handling, by.actor, by.reason, at, end)
        return [_ended(step, done, faults) for step in steps]


def _ended(step: Step, done: Mapping[bytes, Handled], faults: Mapping[bytes, str]) -> Step:
    if step.letter is None or step.verdict not in (Verdict.READY, Verdict.COPY):
        return step
    handled = done.get(step.letter.fingerprint)
    if handled is None:
        fault = faults[step.letter.fingerprint]
        return replace(step, verdict=Verdict.FAILED, fault=fault)
    if step.verdict is Verdict.COPY:
        return replace(step, handled=replace(handled, is_copy=True))
    return replace(step, verdict=Verdict.DONE, handled=handled)


def _in_the_way(handling: Handling, past: Sequence[Handled], is_named: bool) -> Handled | None:
    """What was done before and forbids this. A drop can be taken back, by a replay that names the
    letter; nothing is done twice, and what was replayed has nothing left to drop.
    """
    for earlier in past:
        if not is_named or earlier.handling in (handling, Handling.REPLAYED):
            return earlier
    return None


def _group(letter: Letter, past: Sequence[Handled]) -> bytes:
    return letter.fingerprint + b"".join(done.handling.encode() for done in past)


def _oldest(shown: list[Shown], limit: int) -> list[Shown]:
    return sorted(shown, key=lambda each: (each.letter.written_at, each.letter.id))[:limit]


@dataclass(frozen=True, slots=True)
class LetterCount:
    """`open`: neither replayed nor dropped, copies counted. `replayed`: messages given back."""

    open: int
    replayed: int


async def count_letters(
    box: DeadLetterBox, actions: DeadLetterActions, space: Space
) -> LetterCount:
    """Without reading the letters: by where the topic begins and ends. Raises `Unavailable`."""
    topic_id, partitions = await box.extent(space)
    there = sum(end - first for _, first, end in partitions)
    handled, replayed = await actions.handled(topic_id, partitions) if there else (0, 0)
    return LetterCount(max(0, there - handled), replayed)
