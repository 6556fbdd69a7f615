"""Requests that are in flight at the same moment share one call.

How to think about it: greedy, without a timer. A lone item is a batch of one and waits for nobody;
while a batch is under way the next one fills up by itself, so batches are as large as the load is
high. What it buys: a transaction's cost (two round trips, one flush to disk) is paid once for all.
What it costs: an item may wait for the batch before it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar, cast

from payment_manager.application.patience import PATIENCE_SECONDS, trying_again
from payment_manager.application.ports import Unavailable

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Overloaded(Unavailable):
    """The queue is full: more comes in than can be worked off. Nothing of this item was done."""


class Batcher(Generic[Item, Answer]):
    """`run` answers a batch with one answer (or error) an item, in order; it is safe to repeat.

    At most `batch_max` items a call, `queue_max` waiting, `calls_max` calls at once.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]],
        *,
        batch_max: int,
        queue_max: int,
        calls_max: int = 1,
    ) -> None:
        self._run = run
        self._batch_max = batch_max
        self._queue_max = queue_max
        self._calls_max = calls_max
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._workers: set[asyncio.Task[None]] = set()
        self._items = self._calls = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def worked_off(self) -> tuple[int, int]:
        """How many items so far, in how many calls."""
        return self._items, self._calls

    async def submit(self, item: Item) -> Answer:
        """This item's answer.

        Raises `Overloaded` at once, `Unavailable` after `PATIENCE_SECONDS` at most. After
        `Unavailable` the item may have been worked off all the same, or may still be.
        """
        if len(self._waiting) >= self._queue_max:
            raise Overloaded("the queue is full")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._workers) < self._calls_max:
            self._workers.add(asyncio.create_task(self._work()))
        # A timer of its own is a fifth of what `asyncio.timeout` costs each item.
        impatience = future.get_loop().call_later(PATIENCE_SECONDS, _lose_patience, future)
        try:
            return await future
        finally:
            impatience.cancel()

    async def drained(self) -> None:
        """Returns when nothing waits and no call is under way."""
        while self._workers:
            await asyncio.wait(self._workers)

    async def _work(self) -> None:
        try:
            while batch := self._next_batch():
                await self._answer(batch)
        finally:
            # In the same step that found nothing waiting: a callback would run later, and what is
            # submitted in between would count on a worker that has gone.
            self._workers.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    async def _answer(self, batch: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        self._items += len(batch)
        self._calls += 1
        try:
            answers = await trying_again(lambda: self._run([item for item, _ in batch]))
            answered = list(zip(batch, answers, strict=True))
        except Exception as error:  # whatever it is, those who wait must hear of it
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in answered:
            if future.done():
                continue  # it lost patience, or its caller is gone
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        batch: list[tuple[Item, asyncio.Future[Answer]]] = []
        while self._waiting and len(batch) < self._batch_max:
            waiting = self._waiting.popleft()
            if not waiting[1].done():
                batch.append(waiting)
        return batch


def _lose_patience(future: asyncio.Future[Answer]) -> None:
    if not future.done():
        future.set_exception(Unavailable("no answer in time"))
