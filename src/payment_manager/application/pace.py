"""How much of a process's time work in the background may take beside what the process serves.

How to think about it: one thread runs everything, so whatever background work uses, requests wait
for. The work is metered: how much of the processor it used itself, and how much all else did. While
all else uses much, the work is slowed down to a small share; alone, it goes as fast as it can. Work
says so itself between its pieces (`turn`), which are of some size at most.

Of how the processor is used it can't be told whether requests have to wait: ever more of them are
worked off together, at ever less each. So that is counted, too.
"""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from time import monotonic, thread_time
from typing import Any, Generic, TypeVar

SHARE_MIN = 0.03
"""Of a processor, while requests take all there is: search falls behind then, webhooks don't. It is
about five hundred events a second.
"""

BUSY = 0.72
"""Of the time, by all else. A service with a thousand webhooks a second ran for a half of it, on a
machine that it shares with its database.
"""

CROWD = 16.0
"""Requests that are worked off together, on average: so many wait for one another, however little
the thread runs, since the database takes the rest. Of a thousand webhooks a second five come
together, of sixty-four at any time thirty.
"""

WINDOW_SECONDS = 0.5
"""Over which use is averaged: shorter than a burst, longer than a batch."""

WorkedOff = Callable[[], tuple[int, int]]
"""How many requests so far, in how many batches."""

Result = TypeVar("Result")


def no_batches() -> tuple[int, int]:
    """There are no requests, or not in batches."""
    return 0, 0


class Pace:
    """One background task's. Whoever doesn't meter it is never slowed down.

    `ran`: for how long the thread has, in seconds.
    """

    def __init__(
        self,
        worked_off: WorkedOff = no_batches,
        ran: Callable[[], float] = thread_time,
    ) -> None:
        self._worked_off = worked_off
        self._ran = ran
        self._used = 0.0
        self._at, self._ran_then, self._used_then = monotonic(), ran(), 0.0
        self._others = 0.0
        """Of the time that the work left, on average."""
        self._worked_off_then = worked_off()
        self._crowd = 0.0
        """Requests a batch, on average."""

    async def metered(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run it; what it uses is counted."""
        return await _Metered(self, work)

    async def turn(self) -> None:
        """Let others go on; for longer, if the work has used more than its share since the last
        turn.
        """
        used, spent = self._used - self._used_then, monotonic() - self._at
        self._look()
        await asyncio.sleep(max(0.0, used / self._share - spent))
        self._look()

    @property
    def is_pressed(self) -> bool:
        """Whether all else uses so much that the work gets its least share."""
        return self._share == SHARE_MIN

    @property
    def _share(self) -> float:
        """All of it alone, and ever less, down to the least, the more all else uses."""
        if self._crowd > CROWD:
            return SHARE_MIN
        return max(SHARE_MIN, 1 - self._others / BUSY)

    def _look(self) -> None:
        """Take into the average what was since the last look."""
        now, ran, used = monotonic(), self._ran(), self._used
        seconds, mine = now - self._at, used - self._used_then
        if seconds > 0:
            others = max(0.0, ran - self._ran_then - mine)
            weight = min(1.0, seconds / WINDOW_SECONDS)
            # The more the work takes, the less is left to be used.
            self._others += weight * (others / max(seconds - mine, 0.001) - self._others)
            requests, batches = self._worked_off()
            requests_then, batches_then = self._worked_off_then
            crowd = (requests - requests_then) / max(1, batches - batches_then)
            self._crowd += weight * (crowd - self._crowd)
            self._worked_off_then = requests, batches
        self._at, self._ran_then, self._used_then = now, ran, used

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
