"""What the API service does besides answering: making days ahead, asking the provider again.

How to think about it: the work is a `run_once` elsewhere; here are only the loops that sleep. A
round that fails is logged and the next one comes; a loop never ends by itself.
"""

import asyncio

import structlog

from payment_manager.application.ports import Clock, Partitions, PortError, Telemetry
from payment_manager.application.reconcile import Reconcile

DAYS_SECONDS = 600
"""Days are made a week ahead, so any interval well below a day will do; rows in no day should be
seen soon.
"""

RECONCILE_SECONDS = 1.0
"""One look into an index of open questions; when each is due stands in the database."""

log = structlog.get_logger()


async def keep_days_ahead(partitions: Partitions, clock: Clock, telemetry: Telemetry) -> None:
    while True:
        await asyncio.sleep(DAYS_SECONDS)
        try:
            health = await partitions.maintain(clock.now())
        except PortError as error:
            log.warning("partitions_not_maintained", reason=str(error))
            continue
        telemetry.partitions(health)
        if health.default_rows:
            log.error("events_in_default_partition", rows=health.default_rows)


async def keep_reconciling(reconcile: Reconcile, clock: Clock, telemetry: Telemetry) -> None:
    while True:
        try:
            asked = await reconcile.run_once()
            telemetry.intents(await reconcile.open(), clock.now())
        except PortError as error:
            log.warning("not_reconciled", reason=str(error))
            asked = 0
        except Exception:
            # A fault in one question must not end the asking of all others.
            log.exception("reconcile_failed")
            asked = 0
        if not asked:
            await asyncio.sleep(RECONCILE_SECONDS)
