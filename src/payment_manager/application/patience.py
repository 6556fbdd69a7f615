"""How long a caller is made to wait for something that is away: a moment, not longer.

How to think about it: a restart of the database or a lost connection is over in a second, so trying
again within the request spares the caller an error. Longer than that, an honest "not now" is worth
more: a webhook's sender tries again by itself, a person wants to know.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

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

Result = TypeVar("Result")


async def patiently(call: Callable[[], Awaitable[Result]]) -> Result:
    """`call`'s result, tried again on `Unavailable` with backoff and jitter. `call` must be safe to
    repeat.
    """
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(Unavailable),
        wait=wait_random_exponential(multiplier=0.02, max=0.4),
        stop=stop_after_delay(PATIENCE_SECONDS),
        reraise=True,
    ):
        with attempt:
            return await call()
    raise AssertionError("tenacity ends with a result or an exception")
