"""The API service a second before midnight: `python -m tests.e2e.at_midnight api`.

How to think about it: it is the service as it is wired everywhere, but for its clock. That one
stands still until the test says `GO`, so however slow the machine is, webhooks come before midnight
too; then it runs as fast as any other.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic

import uvloop

from payment_manager.adapters.telemetry import logs
from payment_manager.bootstrap.api import api_service
from payment_manager.entrypoints.http.problems import unreadable
from payment_manager.entrypoints.http.serving import serve
from payment_manager.settings import ApiSettings, load

SECONDS_BEFORE = 1.0

MIDNIGHT = "TEST_MIDNIGHT"
"""In the environment: which one it is, since the test's own clock may pass one meanwhile."""

GO = "time-goes-on"
"""A file in the data folder."""


def midnight() -> datetime:
    """The end of this day, in UTC."""
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day + timedelta(days=1)


class LateClock:
    """`Clock` that runs from a moment of its own, once `go` is there."""

    def __init__(self, begin: datetime, go: Path) -> None:
        self._begin = begin
        self._go = go
        self._started: float | None = None

    def now(self) -> datetime:
        if self._started is None and self._go.exists():
            self._started = monotonic()
        since = 0.0 if self._started is None else monotonic() - self._started
        return self._begin + timedelta(seconds=since)


async def main() -> None:
    settings = load(ApiSettings)
    logs.configure(settings.log_level, settings.log_format)
    begin = datetime.fromisoformat(os.environ[MIDNIGHT]) - timedelta(seconds=SECONDS_BEFORE)
    clock = LateClock(begin, settings.data_dir / GO)
    async with api_service(settings, clock) as application:
        await serve(
            application,
            name="api",
            host=settings.bind_address,
            port=settings.port,
            receive_seconds=settings.body_timeout.total_seconds(),
            stop_seconds=settings.shutdown_timeout.total_seconds(),
            refuse=unreadable,
        )


if __name__ == "__main__":
    uvloop.run(main())
