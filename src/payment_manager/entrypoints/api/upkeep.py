"""What a service does besides answering: keeping the event logs, asking the provider again.

How to think about it: the work is a `run_once` elsewhere; here are only the loops that sleep. A
round that fails is logged and the next one comes; a loop never ends by itself.
"""

import asyncio
from datetime import timedelta

import structlog

from payment_manager.application.maintain import Maintain
from payment_manager.application.ports import Clock, PortError, Telemetry
from payment_manager.application.reconcile import Reconcile

RECONCILE_SECONDS = 1.0
"""One look into an index of open questions; when each is due stands in the database."""

log = structlog.get_logger()


async def keep_maintained(maintain: Maintain, clock: Clock, interval: timedelta) -> None:
    """The first round at once: a service that is restarted often must get there too."""
    while True:
        await maintain.run_once(clock.now())
        await asyncio.sleep(interval.total_seconds())


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
