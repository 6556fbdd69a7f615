"""How long a caller is made to wait for something that is away: a moment, not longer.

How to think about it: a restart of the database or a lost connection is over in a second, so trying
again within the request spares the caller an error. Longer than that, an honest "not now" is worth
more: a webhook's sender tries again by itself, a person wants to know. That holds for a database
that hangs without a word, too: the caller is told, and the call is left to end by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from payment_manager.application.ports import Unavailable

PATIENCE_SECONDS = 1.5
"""An answer is due within two seconds, whatever happens; half a second is left for the last
attempt.
"""

LONGEST_SECONDS = PATIENCE_SECONDS + 0.4
"""For a call that neither answers nor fails."""

Result = TypeVar("Result")

_left_behind: set[asyncio.Task[object]] = set()


async def patiently(call: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """`trying_again`, but `Unavailable` after `LONGEST_SECONDS`, whatever `call` does.

    It may then have had its effect all the same, or may still have it.
    """
    return await within(LONGEST_SECONDS, partial(trying_again, call))


async def within(seconds: float, call: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """`call`'s result; `Unavailable` after so many seconds, whatever it does."""
    task = asyncio.create_task(call())
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        # Not waited for: a driver may need many seconds to let go of a server that hangs.
        if not task.done():
            task.cancel()
            _left_behind.add(task)
            task.add_done_callback(_forget)
    if not done:
        raise Unavailable("no answer in time")
    return task.result()


def _forget(task: asyncio.Task[object]) -> None:
    _left_behind.discard(task)
    if not task.cancelled():
        task.exception()  # looked at: nobody else will, and asyncio would complain


async def trying_again(call: Callable[[], Awaitable[Result]]) -> Result:
    """`call`'s result, tried again on `Unavailable` with backoff and jitter. `call` must be safe to
    repeat.
    """
    with suppress(Unavailable):
        return await call()  # nearly always: the machinery below costs more than a small query
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(Unavailable),
        wait=wait_random_exponential(multiplier=0.02, max=0.4),
        stop=stop_after_delay(PATIENCE_SECONDS),
        reraise=True,
    ):
        with attempt:
            return await call()
    raise AssertionError("tenacity ends with a result or an exception")
