"""Consumers that keep going: a membership that ends is followed by another, and told about.

How to think about it: what a `Consume` can wait out, it waits out itself. What comes up to here has
ended its membership (a fatal error of the client, a fault of ours): it is closed, and after a while
a new one begins at what was committed. The probes ask here whether all of them still turn.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TypeAlias

import structlog

from payment_manager.application.ports import Space, Unavailable
from payment_manager.entrypoints.http.operations import DEGRADED
from payment_manager.entrypoints.worker.consume import Consume

BEGIN_AGAIN_SECONDS = 2.0
"""Between a membership that ended and the next one."""

STUCK_SECONDS = 60.0
"""Well above the database's own time-outs: a loop without a turn for so long won't have another."""

Membership: TypeAlias = Callable[[], AbstractAsyncContextManager[Consume]]

log = structlog.get_logger()


class Consumers:
    """One consumer a space, from `running` to its end."""

    def __init__(self, memberships: Mapping[Space, Membership]) -> None:
        self._memberships = memberships
        self._current: dict[Space, Consume] = {}
        self._turned_at = dict.fromkeys(memberships, asyncio.get_running_loop().time())
        self._ending = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """At the end, what is being applied is committed, and the groups are left."""
        tasks = [asyncio.create_task(self._keep_consuming(space)) for space in self._memberships]
        try:
            yield
        finally:
            self._ending.set()
            for consume in self._current.values():
                consume.end()
            await asyncio.gather(*tasks)

    def liveness(self) -> dict[str, str]:
        """A consumer that waits for something turns all the same; one that hangs does not."""
        for space, consume in self._current.items():
            self._note(space, consume)
        oldest = asyncio.get_running_loop().time() - STUCK_SECONDS
        return {
            f"{space}_consumer": "ok" if turned_at > oldest else "stuck"
            for space, turned_at in self._turned_at.items()
        }

    async def checks(self) -> dict[str, str]:
        """What a consumer can't do takes nothing from what the service answers."""
        return {f"{space}_consumer": self._state(space) for space in self._memberships}

    def _note(self, space: Space, consume: Consume) -> None:
        # One that fails at its first batch, again and again, never comes round.
        if consume.turned_at is not None:
            self._turned_at[space] = consume.turned_at

    def _state(self, space: Space) -> str:
        consume = self._current.get(space)
        if consume is None:
            return f"{DEGRADED}: not consuming"
        if consume.stopped:
            return f"{DEGRADED}: stopped, too many dead letters"
        if consume.waits_for is not None:
            return f"{DEGRADED}: waits, {consume.waits_for}"
        return "ok"

    async def _keep_consuming(self, space: Space) -> None:
        while not self._ending.is_set():
            try:
                async with self._memberships[space]() as consume:
                    self._current[space] = consume
                    try:
                        if not self._ending.is_set():
                            await consume.run_until_ended()
                    finally:
                        self._note(space, consume)
                        del self._current[space]
            except Unavailable as unavailable:
                log.warning("consumer_begins_again", space=space.value, reason=str(unavailable))
            except Exception:
                log.exception("consumer_failed", space=space.value)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), BEGIN_AGAIN_SECONDS)
