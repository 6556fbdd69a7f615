"""A round of upkeep of the event logs: days ahead, sealed days, what can be forgotten, old days.

How to think about it: each step is idempotent and looks for itself what there is to do, so a round
may come at any time, be cut short at any point and be repeated. Every process makes days, since a
webhook needs its day whoever takes it; the rest is one process's business at a time. A step that
fails is told, and does not keep the next one from running.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic

import structlog

from payment_manager.application.ports import (
    EventBatches,
    KnownIds,
    Leadership,
    LogDay,
    PartitionHealth,
    Partitions,
    PortError,
    Sealing,
    UpkeepTelemetry,
)

SEALING_SECONDS_MAX = 3600.0
"""After an upgrade there may be years to seal; in between, days are made and ids forgotten."""

FAILURES_MAX = 10
"""More than days that can't be sealed for a reason of their own: the database is in trouble."""

log = structlog.get_logger()

Retiring = Callable[[datetime], Awaitable[Sequence[LogDay]]]


@dataclass(slots=True)
class Round:
    """What a round came to. `done`: of each step that ran to its end, how many things it did;
    `failed`: of each other one, why.
    """

    leads: bool = False
    health: PartitionHealth | None = None
    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def result(self) -> str:
        if self.failed:
            return "failed"
        return "done" if self.leads else "another_leads"


class Maintain:
    """`seal_after`: for how long a day must be over; `ids_retention`: how long ids are known."""

    def __init__(
        self,
        partitions: Partitions,
        leadership: Leadership,
        sealing: Sealing,
        known_ids: KnownIds,
        batches: EventBatches,
        telemetry: UpkeepTelemetry,
        *,
        retire: Retiring,
        seal_after: timedelta,
        ids_retention: timedelta,
    ) -> None:
        self._partitions = partitions
        self._leadership = leadership
        self._sealing = sealing
        self._known_ids = known_ids
        self._batches = batches
        self._retire = retire
        self._telemetry = telemetry
        self._seal_after = seal_after
        self._ids_retention = ids_retention

    async def make_days(self, now: datetime) -> PartitionHealth:
        """Before the first webhook, so that none falls outside of the days. Raises `PortError`."""
        health = await self._partitions.maintain(now)
        self._telemetry.partitions(health)
        if health.default_rows:
            log.error("events_in_default_partition", rows=health.default_rows)
        return health

    async def run_once(self, now: datetime) -> Round:
        """Raises nothing but what ends the process."""
        began, round_ = monotonic(), Round()

        async def lead() -> None:
            async with self._leadership.leading() as leads:
                round_.leads = leads
                if leads:
                    await self._step(round_, "days_sealed", lambda: self._seal(now))
                    await self._step(round_, "ids_forgotten", lambda: self._forget(now))
                    await self._step(round_, "batches_forgotten", lambda: self._batches.forget(now))
                    await self._step(round_, "days_retired", lambda: self._retire_days(now))

        async def make() -> int:
            round_.health = await self.make_days(now)
            return round_.health.days_ahead

        await self._step(round_, "days_ahead", make)
        await self._step(round_, "leading", lead)
        await self._step(round_, "logs_watched", lambda: self._watch(now))
        self._telemetry.maintained(round_.result, monotonic() - began)
        log.info("maintained", result=round_.result, **round_.done)
        return round_

    async def _step(
        self, round_: Round, name: str, work: Callable[[], Awaitable[int | None]]
    ) -> None:
        try:
            if (amount := await work()) is not None:
                round_.done[name] = amount
        except PortError as error:
            round_.failed[name] = str(error)
            log.warning("not_maintained", step=name, reason=str(error))
        except Exception as error:
            # A fault of ours in one step must not end the making of days.
            round_.failed[name] = type(error).__name__
            log.exception("maintenance_failed", step=name)

    async def _seal(self, now: datetime) -> int:
        began, sealed, failed = monotonic(), 0, list[PortError]()
        for day in await self._sealing.unsealed((now - self._seal_after).date()):
            try:
                sealed += await self._sealing.seal(day, now) is not None
            except PortError as error:
                # One that can't be sealed must not keep the others from it; each time again.
                log.warning("day_not_sealed", space=day.space, day=str(day.day), reason=str(error))
                failed.append(error)
            if len(failed) == FAILURES_MAX or monotonic() - began > SEALING_SECONDS_MAX:
                break
        if failed:
            raise failed[0]
        return sealed

    async def _forget(self, now: datetime) -> int:
        return await self._known_ids.forget(now - self._ids_retention)

    async def _retire_days(self, now: datetime) -> int:
        return len(await self._retire(now))

    async def _watch(self, now: datetime) -> None:
        extents = await self._sealing.extents()
        unsealed = await self._sealing.unsealed((now - self._seal_after).date())
        self._telemetry.logs(extents, Counter(day.space for day in unsealed))
