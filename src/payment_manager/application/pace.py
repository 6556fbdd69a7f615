"""How much of a process's time work in the background may take beside what the process serves.

How to think about it: one thread runs everything, so whatever background work uses, requests wait
for. The work is metered: how much of the processor it used itself, and how much all else did since.
While all else uses much, the work is slowed down to a small share; alone, it goes as fast as it
can. Work says so itself between its pieces (`turn`), and makes the pieces small (`piece`).
"""

import asyncio
from collections.abc import Coroutine, Generator
from time import monotonic, thread_time
from typing import Any, Generic, TypeVar

SHARE_MIN = 0.08
"""Of one processor, while the process is busy otherwise: what a busy service may lose."""

BUSY = 0.30
"""A process that uses so much of a processor otherwise has requests waiting, now or soon: on a
machine that is shared with its database, a service at its limit uses about a half.
"""

WINDOW_SECONDS = 0.5
"""Over which the others' use is averaged: shorter than a burst, longer than a batch."""

PIECE_QUIET, PIECE_BUSY = 1000, 100
"""Events at once. A hundred hold the thread for about five milliseconds; more cost less each."""

Result = TypeVar("Result")


class Pace:
    """One background task's. Whoever doesn't meter it is never slowed down."""

    def __init__(self) -> None:
        self._used = 0.0
        self._others = 0.0
        self._marked_at = monotonic()
        self._thread_at_mark = thread_time()
        self._used_at_mark = 0.0

    async def metered(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run it; what it uses is counted."""
        return await _Metered(self, work)

    @property
    def piece(self) -> int:
        """How many events to take at once."""
        return PIECE_BUSY if self._others > BUSY / 2 else PIECE_QUIET

    async def turn(self) -> None:
        """Let others go on; for longer, if the work has used more than its share since the last
        turn.
        """
        used = self._used - self._used_at_mark
        spent = monotonic() - self._marked_at
        self._look()
        # All of it alone, and ever less, down to the least, the more the others use.
        share = max(SHARE_MIN, 1 - self._others / BUSY)
        await asyncio.sleep(max(0.0, used / share - spent))
        self._look()

    def _look(self) -> None:
        now, thread, used = monotonic(), thread_time(), self._used
        seconds = now - self._marked_at
        if seconds > 0:
            others = (thread - self._thread_at_mark) - (used - self._used_at_mark)
            weight = min(1.0, seconds / WINDOW_SECONDS)
            self._others += weight * (max(0.0, others) / seconds - self._others)
        self._marked_at, self._thread_at_mark, self._used_at_mark = now, thread, used

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
