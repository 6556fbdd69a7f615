"""A log for oneself, for a moment.

How to think about it: whoever waits for a log's lock makes everybody behind wait too. So it is
waited for only shortly, and asked for again after a pause, in which nothing is locked: a reader in
the way is mostly gone soon, or it is a walk over the whole log, and then a later round is as good.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import psycopg

LOCK_MS_MAX = 250
"""What waits behind us waits no longer than this, each time that we try."""

WAIT_SHORTLY = f"SET LOCAL lock_timeout = '{LOCK_MS_MAX}ms'"

PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""Between tries. What was prepared for the moment may have been costly: some seconds are cheap."""

IN_THE_WAY = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    # The statement's own limit, which ends it while it has the lock.
    psycopg.errors.QueryCanceled,
)

Result = TypeVar("Result")


async def when_free(
    connection: psycopg.AsyncConnection, work: Callable[[], Awaitable[Result]]
) -> Result:
    """`work`, in a savepoint of the transaction that is open; its locks stay until that ends.

    Raises one of `IN_THE_WAY` where the last try met it too.
    """
    for pause in PAUSES_SECONDS:
        try:
            async with connection.transaction():
                await connection.execute(WAIT_SHORTLY)
                return await work()
        except IN_THE_WAY:
            await asyncio.sleep(pause)
    async with connection.transaction():
        await connection.execute(WAIT_SHORTLY)
        return await work()
