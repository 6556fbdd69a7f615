"""How much of a process's time work in the background may take beside what the process serves.

How to think about it: one thread runs everything, so whatever background work uses, requests wait
for. The work is metered: how much of the processor it used itself, and how much all else used or
would have. While all else wants much, the work is slowed down to a small share; alone, it goes as
fast as it can. Work says so itself between its pieces (`turn`), and makes the pieces small
(`piece`).
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from time import monotonic, thread_time
from typing import Any, Generic, NamedTuple, TypeVar

SHARE_MIN = 0.05
"""Of a processor, while requests want more than there is: what a busy service may lose. It is about
nine hundred events a second.
"""

BUSY = 1.0
"""Of the time, wanted by all else: requests wait for one another. How much it ran does not tell: on
a machine that it shares with its database, a service at its limit may run for a quarter of the time
and wait for a processor for a half.
"""

WINDOW_SECONDS = 0.5
"""Over which use is averaged: shorter than a burst, longer than a batch."""

PIECE_QUIET, PIECE_BUSY = 1000, 1000
"""Events at once: more cost less each, and what is done in one go takes longer."""

Result = TypeVar("Result")


class Use(NamedTuple):
    """Seconds that a thread ran, and that it waited for a processor."""

    ran: float
    waited: float


def ran_alone() -> Use:
    return Use(thread_time(), 0.0)


class Pace:
    """One background task's. Whoever doesn't meter it is never slowed down.

    `use`: the thread's, up to now.
    """

    def __init__(self, use: Callable[[], Use] = ran_alone) -> None:
        self._use = use
        self._used = 0.0
        self._at, self._then, self._used_then = monotonic(), use(), 0.0
        self._wanted = 0.0
        """By all else, of the time that the work left; on average."""

    async def metered(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run it; what it uses is counted."""
        return await _Metered(self, work)

    @property
    def piece(self) -> int:
        """How many events to take at once."""
        return PIECE_BUSY if self._wanted > BUSY / 4 else PIECE_QUIET

    async def turn(self) -> None:
        """Let others go on; for longer, if the work has used more than its share since the last
        turn.
        """
        used, spent = self._used - self._used_then, monotonic() - self._at
        self._look()
        # All of it alone, and ever less, down to the least, the more all else wants.
        share = max(SHARE_MIN, 1 - self._wanted / BUSY)
        await asyncio.sleep(max(0.0, used / share - spent))
        self._look()

    def _look(self) -> None:
        """Take into the average what was since the last look."""
        now, use, used = monotonic(), self._use(), self._used
        seconds = now - self._at
        if seconds > 0:
            ran, waited = use.ran - self._then.ran, use.waited - self._then.waited
            mine = min(ran, used - self._used_then)
            # Who waited is not told: each for as much as it ran.
            wanted = (ran - mine) * (1 + waited / ran) if ran > 0 else 0.0
            weight = min(1.0, seconds / WINDOW_SECONDS)
            # The more the work takes, the less is left to be wanted.
            self._wanted += weight * (wanted / max(seconds - mine, 0.001) - self._wanted)
        self._at, self._then, self._used_then = now, use, used

    def add(self, seconds: float) -> None:
        """The work used so much of the thread's time."""
        self._used += seconds


class _Metered(Generic[Result]):
    """Awaits a coroutine, with a look at the thread's time around each of its steps."""

    def __init__(self, pace: Pace, work: Coroutine[Any, Any, Result]) -> None:
        self._pace = pace
        self._work = work

    def __await__(self) -> Generator[Any, Any, Result]:
        failure: BaseException | None = None
        while True:
            began = thread_time()
            try:
                waits_for = self._work.send(None) if failure is None else self._work.throw(failure)
            except StopIteration as end:
                result: Result = end.value
                return result
            finally:
                self._pace.add(thread_time() - began)
            failure = None
            try:
                yield waits_for
            except BaseException as thrown:
                # A cancellation, which the work is to hear of where it waits.
                failure = thrown
