"""Trouble under load, and what must be true of the log afterwards."""

import asyncio
import random
from collections.abc import Callable

from tests.e2e.load import Load
from tests.e2e.service import Service
from tests.e2e.wire import CHARGEBACKS, ORDERS


def assert_nothing_lost(service: Service, load: Load) -> None:
    """Each acknowledged webhook is in the log exactly once, and the rows are what the log says."""
    assert load.wrong == []
    in_log = {
        (path, *row[:2]): row[2]
        for path, table, column in (
            (ORDERS, "order_events", "e.order_id"),
            (
                CHARGEBACKS,
                "dispute_events AS e JOIN disputes AS d USING (dispute_id)",
                "d.order_id",
            ),
        )
        for row in service.query(
            f"SELECT {column}, e.provider_event_id, count(*)"
            f" FROM {table if ' AS e' in table else f'{table} AS e'}"
            " WHERE e.provider_event_id IS NOT NULL GROUP BY 1, 2"
        )
    }
    assert load.acknowledged.keys() - in_log.keys() == set()
    assert {webhook for webhook, times in in_log.items() if times != 1} == set()
    assert service.query("SELECT count(*) FROM parked_webhooks") == [(0,)]
    service.verify()


async def under_load(
    service: Service, trouble: Callable[[], None], *, times: int, between: tuple[int, int]
) -> Load:
    """Trouble, so many times, each after some more acknowledged webhooks."""
    load = Load(service.port)
    running = asyncio.create_task(load.run())
    dice = random.Random(7)
    for _ in range(times):
        await asyncio.wait_for(load.more(dice.randint(*between)), 30)
        await asyncio.to_thread(trouble)
    await asyncio.wait_for(load.more(100), 30)
    load.stop()
    await asyncio.wait_for(running, 60)
    return load
