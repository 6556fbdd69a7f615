"""Items that are in flight together share a call, and each gets its own answer or an error in time.

How to think about it: `Calls` is a `run` that a test holds by the hand. It records each batch; a
test lets calls wait for `gate`, so that what arrives meanwhile is known and nothing has to sleep.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import pytest

from payment_manager.application import batching
from payment_manager.application.batching import Batcher, Overloaded
from payment_manager.application.patience import PATIENCE_SECONDS, patiently
from payment_manager.application.ports import PortError, Unavailable, WriteRefused

ANSWER_DUE_SECONDS = 2.0  # what a caller is promised, whatever happens

BUSY_SECONDS = 30.0
"""More than a machine that others have too may need for what takes no time."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers are, unless told otherwise: else one could be told "not now" by a busy machine."""
    monkeypatch.setattr(batching, "PATIENCE_SECONDS", 2 * BUSY_SECONDS)


def test_patience_ends_before_an_answer_is_due() -> None:
    assert PATIENCE_SECONDS < ANSWER_DUE_SECONDS


def doubled(batch: Sequence[int]) -> list[int | PortError]:
    return [2 * item for item in batch]


class Calls:
    def __init__(
        self, answer: Callable[[Sequence[int]], Sequence[int | PortError]] = doubled
    ) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self._answer = answer

    async def __call__(self, batch: Sequence[int]) -> Sequence[int | PortError]:
        self.batches.append(list(batch))
        await self.gate.wait()
        return self._answer(batch)


def batcher_of(
    calls: Calls, batch_max: int = 10, queue_max: int = 100, calls_max: int = 1
) -> Batcher[int, int]:
    return Batcher(calls, batch_max=batch_max, queue_max=queue_max, calls_max=calls_max)


async def submitted(batcher: Batcher[int, int], *items: int) -> list[asyncio.Task[int]]:
    """Under way, as far as they come without an answer."""
    tasks = [asyncio.create_task(batcher.submit(item)) for item in items]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_a_lone_item_runs_at_once_and_alone() -> None:
    calls = Calls()
    assert await batcher_of(calls).submit(1) == 2
    assert calls.batches == [[1]]


async def test_items_one_after_the_other_never_wait_for_a_worker_that_has_gone() -> None:
    calls = Calls()
    batcher = batcher_of(calls)
    async with asyncio.timeout(BUSY_SECONDS):
        assert [await batcher.submit(item) for item in range(50)] == [2 * n for n in range(50)]
    assert len(calls.batches) == 50


async def test_items_that_arrive_during_a_call_share_the_next_and_keep_their_order() -> None:
    calls = Calls()
    calls.gate.clear()
    batcher = batcher_of(calls)
    first = await submitted(batcher, 1)
    rest = [*await submitted(batcher, 2, 3, 4), *await submitted(batcher, 5)]
    assert batcher.waiting == 4
    calls.gate.set()
    assert await asyncio.gather(*first, *rest) == [2, 4, 6, 8, 10]
    assert calls.batches == [[1], [2, 3, 4, 5]]
    assert batcher.worked_off() == (5, 2)


async def test_a_batch_is_never_larger_than_its_maximum() -> None:
    calls = Calls()
    calls.gate.clear()
    batcher = batcher_of(calls, batch_max=3)
    first = await submitted(batcher, 0)
    rest = await submitted(batcher, *range(1, 9))
    calls.gate.set()
    assert await asyncio.gather(*first, *rest) == [2 * n for n in range(9)]
    assert calls.batches == [[0], [1, 2, 3], [4, 5, 6], [7, 8]]


async def test_as_many_calls_at_once_as_allowed() -> None:
    calls = Calls()
    calls.gate.clear()
    batcher = batcher_of(calls, calls_max=2)
    one, two = await submitted(batcher, 1), await submitted(batcher, 2)
    three = await submitted(batcher, 3, 4)
    assert calls.batches == [[1], [2]]
    calls.gate.set()
    assert await asyncio.gather(*one, *two, *three) == [2, 4, 6, 8]
    assert calls.batches == [[1], [2], [3, 4]]


async def test_a_full_queue_refuses_at_once_and_loses_nothing() -> None:
    calls = Calls()
    calls.gate.clear()
    batcher = batcher_of(calls, queue_max=2)
    under_way = await submitted(batcher, 1)
    waiting = await submitted(batcher, 2, 3)
    with pytest.raises(Overloaded):
        await batcher.submit(4)
    calls.gate.set()
    assert await asyncio.gather(*under_way, *waiting) == [2, 4, 6]
    assert await batcher.submit(4) == 8


async def test_while_a_call_hangs_all_are_told_in_time_and_afterwards_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = Calls()
    calls.gate.clear()
    batcher = batcher_of(calls)
    began = time.monotonic()
    with monkeypatch.context() as soon:
        soon.setattr(batching, "PATIENCE_SECONDS", 0.2)
        answers = await asyncio.gather(*await submitted(batcher, 1, 2, 3), return_exceptions=True)
    assert time.monotonic() - began < BUSY_SECONDS
    assert [type(answer) for answer in answers] == [Unavailable] * 3
    next_one = await submitted(batcher, 4)
    calls.gate.set()
    assert await asyncio.gather(*next_one) == [8]
    await batcher.drained()
    assert batcher.waiting == 0
    assert calls.batches == [[1, 2, 3], [4]]


async def test_an_error_reaches_all_of_its_batch_and_nobody_else() -> None:
    def unlucky(batch: Sequence[int]) -> Sequence[int]:
        if 13 in batch:
            raise WriteRefused("no")
        return batch

    calls = Calls(unlucky)
    calls.gate.clear()
    batcher = batcher_of(calls, batch_max=2)
    first = await submitted(batcher, 1)
    rest = await submitted(batcher, 12, 13, 14, 15)
    calls.gate.set()
    answers = await asyncio.gather(*first, *rest, return_exceptions=True)
    assert [isinstance(answer, WriteRefused) for answer in answers] == [
        False,
        True,
        True,
        False,
        False,
    ]


async def test_each_item_can_have_an_error_of_its_own() -> None:
    def odd_ones_refused(batch: Sequence[int]) -> Sequence[int | PortError]:
        return [WriteRefused("odd") if item % 2 else item for item in batch]

    calls = Calls(odd_ones_refused)
    batcher = batcher_of(calls)
    answers = await asyncio.gather(*await submitted(batcher, 1, 2, 3, 4), return_exceptions=True)
    assert [answer if isinstance(answer, int) else type(answer) for answer in answers] == [
        WriteRefused, 2, WriteRefused, 4,
    ]  # fmt: skip


async def test_a_caller_that_is_gone_takes_nobody_along() -> None:
    calls = Calls()
    calls.gate.clear()
    batcher = batcher_of(calls)
    under_way = await submitted(batcher, 1)
    gone, stays = await submitted(batcher, 2, 3)
    gone.cancel()
    under_way[0].cancel()
    await asyncio.wait([gone, *under_way])
    calls.gate.set()
    assert await stays == 6
    assert calls.batches == [[1], [3]]
    assert await batcher.submit(4) == 8


async def test_what_is_away_for_a_moment_is_tried_again_within_the_call() -> None:
    away = iter([True, True, False])

    def twice_away(batch: Sequence[int]) -> Sequence[int]:
        if next(away):
            raise Unavailable("away")
        return batch

    calls = Calls(twice_away)
    assert await batcher_of(calls).submit(7) == 7
    assert calls.batches == [[7]] * 3


async def test_what_stays_away_is_said_to_be_away_in_time() -> None:
    def away(_: Sequence[int]) -> Sequence[int]:
        raise Unavailable("away")

    calls = Calls(away)
    began = time.monotonic()
    with pytest.raises(Unavailable):
        await batcher_of(calls).submit(1)
    assert time.monotonic() - began < BUSY_SECONDS
    assert len(calls.batches) > 1


async def test_a_wrong_number_of_answers_is_an_error_for_all_and_breaks_nothing() -> None:
    lacking = [[], [1]]

    def forgetful(_: Sequence[int]) -> Sequence[int]:
        return lacking.pop(0)

    batcher = batcher_of(Calls(forgetful))
    with pytest.raises(ValueError, match="zip"):
        await batcher.submit(1)
    assert await batcher.submit(1) == 1


async def test_drained_returns_only_when_nothing_is_under_way() -> None:
    calls = Calls()
    calls.gate.clear()
    batcher = batcher_of(calls)
    tasks = await submitted(batcher, 1, 2)
    draining = asyncio.create_task(batcher.drained())
    await asyncio.sleep(0)
    assert not draining.done()
    calls.gate.set()
    await draining
    assert batcher.waiting == 0
    assert await asyncio.gather(*tasks) == [2, 4]


async def test_only_what_is_away_is_tried_again() -> None:
    tried = 0

    async def refused() -> None:
        nonlocal tried
        tried += 1
        raise WriteRefused("never")

    with pytest.raises(WriteRefused):
        await patiently(refused)
    assert tried == 1
