"""Background work keeps to its share, by a thread's time that the test tells."""

import asyncio
import time

import pytest

from payment_manager.application import pace as pace_module
from payment_manager.application.pace import BUSY, SHARE_MIN, Pace


class Thread:
    """`monotonic`, `sleep` and how long a thread ran, that go on as they are told."""

    def __init__(self) -> None:
        self.now = self.ran = self.rate = 0.0

    def has_run(self) -> float:
        return self.ran

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Meanwhile all else runs at its rate."""
        self.now += seconds
        self.ran += seconds * self.rate


@pytest.fixture
def thread(monkeypatch: pytest.MonkeyPatch) -> Thread:
    thread = Thread()
    monkeypatch.setattr(pace_module, "monotonic", thread.monotonic)
    monkeypatch.setattr(pace_module.asyncio, "sleep", thread.sleep)  # type: ignore[attr-defined]
    return thread


async def share_of(thread: Thread, pace: Pace) -> float:
    """Of the time that passes, how much of it the work takes that has always more to do."""
    used = began = 0.0
    for turn in range(400):
        if turn == 200:
            used, began = 0.0, thread.now
        # A piece: some of the processor's time, and as long waiting for an answer.
        pace.add(0.01)
        used += 0.01
        thread.now += 0.01
        thread.ran += 0.01
        await thread.sleep(0.01)
        await pace.turn()
    return used / (thread.now - began)


async def test_alone_the_work_goes_as_fast_as_it_can(thread: Thread) -> None:
    assert await share_of(thread, Pace(ran=thread.has_run)) == pytest.approx(0.5)


@pytest.mark.parametrize("rate", [0.7, 0.95])
async def test_while_requests_take_all_there_is_the_work_takes_little(
    thread: Thread, rate: float
) -> None:
    thread.rate = rate
    pace = Pace(ran=thread.has_run)

    assert await share_of(thread, pace) == pytest.approx(SHARE_MIN, rel=0.1)


async def test_beside_some_requests_the_work_takes_some(thread: Thread) -> None:
    thread.rate = BUSY / 2

    assert 0.3 < await share_of(thread, Pace(ran=thread.has_run)) < 0.51


@pytest.mark.parametrize(("together", "share"), [(8, 0.5), (32, SHARE_MIN)])
async def test_while_requests_wait_for_one_another_the_work_takes_little(
    thread: Thread, together: int, share: float
) -> None:
    """However little of the time the thread runs."""
    pace = Pace(lambda: (int(thread.now * 100) * together, int(thread.now * 100)), thread.has_run)

    assert await share_of(thread, pace) == pytest.approx(share, rel=0.1)
    assert pace.is_pressed is (together == 32)


async def test_after_a_crowd_it_is_fast_again(thread: Thread) -> None:
    crowd = [0, 0]
    pace = Pace(lambda: (crowd[0], crowd[1]), thread.has_run)
    crowd[:] = [6400, 200]
    await thread.sleep(2)
    await pace.turn()
    assert pace.is_pressed

    await thread.sleep(2)
    await pace.turn()

    assert not pace.is_pressed
    assert await share_of(thread, pace) == pytest.approx(0.5)


async def test_after_a_storm_it_is_fast_again(thread: Thread) -> None:
    pace = Pace(ran=thread.has_run)
    thread.rate = 0.95
    await share_of(thread, pace)

    thread.rate = 0.0
    await thread.sleep(2)
    await pace.turn()

    assert await share_of(thread, pace) == pytest.approx(0.5)


async def test_metered_work_is_counted_and_what_others_do_meanwhile_is_not() -> None:
    pace = Pace()

    def busy(seconds: float) -> None:
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    async def others() -> None:
        for _ in range(10):
            busy(0.03)
            await asyncio.sleep(0)

    async def work() -> str:
        beside = asyncio.create_task(others())
        busy(0.02)
        await beside
        busy(0.02)
        return "done"

    assert await pace.metered(work()) == "done"
    # A collection of garbage may come in it. What others did would be 0.3 more.
    assert 0.04 <= pace._used < 0.3


async def test_metered_work_hears_of_its_cancellation_and_its_errors_come_through() -> None:
    heard = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    async def wrong() -> None:
        await asyncio.sleep(0)
        raise ValueError("wrong")

    task = asyncio.create_task(Pace().metered(work()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ValueError, match="wrong"):
        await Pace().metered(wrong())
    assert heard == ["cancelled"]
