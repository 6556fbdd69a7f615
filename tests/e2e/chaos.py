"""Trouble under load, and what must be true of the log afterwards."""

import asyncio
import random
from collections.abc import Callable, Iterable

from tests.e2e.load import Load, Sent
from tests.e2e.service import Service
from tests.e2e.wire import CHARGEBACKS, ORDERS

_STREAMS = {
    ORDERS: "SELECT order_id, provider_event_id FROM order_events"
    " WHERE provider_event_id IS NOT NULL ORDER BY order_id, sequence",
    CHARGEBACKS: "SELECT d.order_id, e.provider_event_id FROM dispute_events AS e"
    " JOIN disputes AS d USING (dispute_id)"
    " WHERE e.provider_event_id IS NOT NULL ORDER BY d.order_id, e.sequence",
}


def in_log(service: Service) -> list[Sent]:
    """Every webhook in the log, those of an order or a dispute in the order of the log."""
    return [
        (path, order_id, provider_event_id)
        for path, statement in _STREAMS.items()
        for order_id, provider_event_id in service.query(statement)
    ]


def by_stream(webhooks: Iterable[Sent]) -> dict[tuple[str, str], list[str]]:
    """The ids of each order and of each dispute, in their order."""
    streams: dict[tuple[str, str], list[str]] = {}
    for path, order_id, provider_event_id in webhooks:
        streams.setdefault((path, order_id), []).append(provider_event_id)
    return streams


def assert_same(found: Iterable[Sent], sent: Iterable[Sent], where: str) -> None:
    """The same webhooks, those of a stream in the same order; else some of the others are told."""
    there, wanted = by_stream(found), by_stream(sent)
    others = {
        stream: f"{there.get(stream)} instead of {wanted.get(stream)}"
        for stream in there.keys() | wanted.keys()
        if there.get(stream) != wanted.get(stream)
    }
    some = dict(list(others.items())[:5])
    assert not others, f"{len(others)} streams are not as sent in {where}: {some}"


def assert_nothing_lost(service: Service, load: Load) -> None:
    """Each acknowledged webhook is in the log exactly once and nothing else is, those of an order
    or a dispute as they were sent; and the rows are what the log says.
    """
    assert load.wrong == []
    assert_same(in_log(service), load.acknowledged, "the log")
    assert service.query("SELECT count(*) FROM parked_webhooks") == [(0,)]
    service.verify()


async def under_load(
    load: Load, trouble: Callable[[], None], *, times: int, between: tuple[int, int]
) -> Load:
    """Trouble, so many times, each after some more acknowledged webhooks."""
    dice = random.Random(7)
    async with load.flowing():
        for _ in range(times):
            await load.more(dice.randint(*between))
            await asyncio.to_thread(trouble)
        await load.more(100)
    return load
