"""Days that are past their retention leave the logs.

How to think about it: with an archive, a day is written there, read back and compared, and only
then dropped, in the transaction that says so; without one it is detached and its table kept, for an
operator to drop knowingly. The oldest day first. What goes wrong stops the round with nothing lost,
and the next round begins that day anew.
"""

from collections.abc import Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from functools import partial

import structlog

from payment_manager.application.ports import Archive, LogDay, Retirement, UpkeepTelemetry

log = structlog.get_logger()


class Retire:
    """`retention` None: days stay for ever."""

    def __init__(
        self,
        retirement: Retirement,
        archive: Archive | None,
        telemetry: UpkeepTelemetry,
        retention: timedelta | None,
    ) -> None:
        self._retirement = retirement
        self._archive = archive
        self._telemetry = telemetry
        self._retention = retention

    async def run_once(self, now: datetime) -> Sequence[LogDay]:
        """The days that left the logs. Raises `Unavailable`, `ArchiveError`."""
        if self._retention is None:
            return []
        # A day is over when the next one begins, and kept for the whole retention from then on.
        before = (now - self._retention).date()
        due = await self._retirement.due(before, kept_too=self._archive is not None)
        retired: list[LogDay] = []
        try:
            for day in due:
                if await self._retire(day, now):
                    retired.append(day)
        finally:
            self._telemetry.retention(len(due) - len(retired))
        return retired

    async def _retire(self, day: LogDay, now: datetime) -> bool:
        if self._archive is None:
            done = await self._retirement.detach(day, now)
            if done:
                log.info("day_detached", space=day.space, day=str(day.day))
            return done
        async with aclosing(self._retirement.events(day)) as events:
            file = await self._archive.write(day, events)
        await self._archive.check(file)
        done = await self._retirement.drop(file, now, partial(self._archive.publish, file))
        if done:
            log.info(
                "day_archived", space=day.space, day=str(day.day), rows=file.rows, file=file.name
            )
        else:
            log.info("day_stays_for_now", space=day.space, day=str(day.day))
        return done
