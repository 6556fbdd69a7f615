"""What a service does besides answering: keeping the event logs, asking the provider again.

How to think about it: the work is a `run_once` elsewhere; here are only the loops that sleep. A
round that fails is logged and the next one comes; a loop never ends by itself.
"""

import asyncio
import random
from datetime import timedelta

import structlog

from payment_manager.application.check_search import WatchSearch
from payment_manager.application.maintain import Maintain
from payment_manager.application.pace import Pace
from payment_manager.application.ports import Clock, PortError, Telemetry
from payment_manager.application.project import Project
from payment_manager.application.reconcile import Reconcile

RECONCILE_SECONDS = 1.0
"""One look into an index of open questions; when each is due stands in the database."""

AWAY_SECONDS = (0.5, 5.0)
"""The first and the longest wait for a search server that is away."""

WATCH_SECONDS = 5.0
"""Two statements and two small requests, of every process with search."""

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


async def keep_projecting(project: Project, pace: Pace) -> None:
    """To be metered by `pace`. Trouble is told when it comes, when it changes and when it ends."""
    told, wait = "", 0.0
    try:
        while True:
            try:
                await project.run_once()
            except PortError:
                if project.trouble != told:
                    log.warning("search_not_projected", reason=project.trouble)
                first, longest = AWAY_SECONDS
                wait = min(longest, max(first, 2 * wait))
            except Exception:
                # A fault of ours in one stretch must not end the projecting for good.
                log.exception("search_projection_failed")
                wait = AWAY_SECONDS[1]
            else:
                if told:
                    log.info("search_projected_again")
                wait = 0.0
            told = project.trouble
            pause = wait * random.uniform(0.5, 1.0) if wait else project.pause_seconds
            if pause:
                await asyncio.sleep(pause)
            await pace.turn()
    finally:
        await project.rest()


async def keep_watching_search(watch: WatchSearch) -> None:
    """Whoever projects: this process, another one, nobody."""
    while True:
        try:
            await watch.run_once()
        except Exception:
            log.exception("search_watch_failed")
        await asyncio.sleep(WATCH_SECONDS)
