"""The read side: pages that skip and repeat no row, and point reads that share a question."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from itertools import product
from typing import Any
from uuid import UUID

import pytest

from payment_manager.adapters.postgres.read_model import PostgresReadModel
from payment_manager.application.ports import (
    DisputesAsked,
    EventsAsked,
    OrdersAsked,
    Place,
    Space,
)
from payment_manager.application.queries import Page, Queries
from payment_manager.domain.dispute import Dispute, DisputeStatus
from payment_manager.domain.dispute_id import dispute_id_of
from payment_manager.domain.order import HoldReason, Order, OrderStatus
from tests.application.world import ANN, World
from tests.clock import TODAY_AT_NOON
from tests.webhooks import ANN as ANNS_ID
from tests.webhooks import BOB as BOBS_ID
from tests.webhooks import at, chargeback_webhook, order_webhook

pytestmark = pytest.mark.asyncio(loop_scope="module")


class CountingReadModel(PostgresReadModel):
    def __init__(self, world: World) -> None:
        super().__init__(world.pool)
        self.asked: list[int] = []

    async def orders_by_id(self, order_ids: Sequence[str]) -> dict[str, Order]:
        self.asked.append(len(order_ids))
        return await super().orders_by_id(order_ids)

    async def disputes_by_id(self, dispute_ids: Sequence[UUID]) -> dict[UUID, Dispute]:
        self.asked.append(len(dispute_ids))
        return await super().disputes_by_id(dispute_ids)


def queries(world: World) -> Queries:
    return Queries(world.read_model, queue_max=1000)


async def all_pages(page_after: Any, limit: int) -> tuple[list[Any], int]:
    """All items page by page, and on how many pages."""
    items: list[Any] = []
    after: Place | None = None
    for pages in range(1, 100):
        page: Page[Any] = await page_after(after, limit)
        assert len(page.items) == limit or page.next is None
        items.extend(page.items)
        if page.next is None:
            return items, pages
        after = page.next
    raise AssertionError("it never ends")


async def order_ids(world: World, asked: OrdersAsked, limit: int = 2) -> list[str]:
    read = queries(world)
    items, _ = await all_pages(lambda after, n: read.orders(asked, after, n), limit)
    return [item.order_id for item in items]


async def test_point_reads_that_are_in_flight_together_share_a_question(world: World) -> None:
    await world.receive(*(order_webhook(f"ord-{n}") for n in range(20)))
    counting = CountingReadModel(world)
    read = Queries(counting, queue_max=1000)
    found = await asyncio.gather(*(read.order(f"ord-{n}") for n in range(25)))
    assert [order.order_id if order else None for order in found] == [
        f"ord-{n}" if n < 20 else None for n in range(25)
    ]
    assert sum(counting.asked) == 25
    assert len(counting.asked) <= 3


async def test_a_point_read_sees_what_was_committed_before_it(world: World) -> None:
    read = queries(world)
    assert await read.order("ord-1") is None
    await world.known_dispute("ord-1")
    order, dispute = await asyncio.gather(read.order("ord-1"), read.dispute(dispute_id_of("ord-1")))
    assert (order, dispute) == (await world.order(), await world.dispute())
    assert await read.dispute(dispute_id_of("nobody")) is None


async def test_pages_of_orders_neither_skip_nor_repeat_any(world: World) -> None:
    """Equal times are the hard part: a page may end between two of them."""
    minutes = {"a": 1, "b": 1, "c": 1, "d": 2, "e": 2, "f": 3}
    await world.receive(
        *(order_webhook(id, created_at=at(m), updated_at=at(m)) for id, m in minutes.items())
    )
    for by_update, ascending, limit in product((False, True), (False, True), (1, 2, 3, 6, 7, 100)):
        asked = OrdersAsked(by_update=by_update, ascending=ascending)
        assert await order_ids(world, asked, limit) == sorted(minutes, reverse=not ascending)


async def test_orders_are_sorted_by_the_time_that_was_asked_for(world: World) -> None:
    await world.receive(
        order_webhook("a", created_at=at(1), updated_at=at(9)),
        order_webhook("b", created_at=at(2), updated_at=at(2)),
    )
    assert await order_ids(world, OrdersAsked()) == ["b", "a"]
    assert await order_ids(world, OrdersAsked(by_update=True)) == ["a", "b"]


async def test_pages_stay_right_while_rows_are_added(world: World) -> None:
    read = queries(world)
    await world.receive(*(order_webhook(f"ord-{n}", created_at=at(n)) for n in range(4)))
    first = await read.orders(OrdersAsked(), None, 2)
    await world.receive(order_webhook("newest", created_at=at(9)))
    second = await read.orders(OrdersAsked(), first.next, 2)
    assert [item.order_id for item in (*first.items, *second.items)] == [
        "ord-3", "ord-2", "ord-1", "ord-0",
    ]  # fmt: skip
    assert second.next is None


async def test_orders_are_found_by_status_user_and_hold(world: World) -> None:
    await world.receive(
        order_webhook("a"),
        order_webhook("b", "updated", user_id=BOBS_ID),
        order_webhook("c", "failed"),
        order_webhook("d", "success", user_id=BOBS_ID),
    )
    await world.replica().operate.set_hold("a", HoldReason.RISK, ANN)
    final = [OrderStatus.FAILED, OrderStatus.SUCCESS]
    for asked, expected in [
        (OrdersAsked(), "dcba"),
        (OrdersAsked(statuses=[OrderStatus.CREATED]), "a"),
        (OrdersAsked(statuses=final), "dc"),
        (OrdersAsked(user_ids=[UUID(BOBS_ID)]), "db"),
        (OrdersAsked(user_ids=[UUID(BOBS_ID), UUID(ANNS_ID)]), "dcba"),
        (OrdersAsked(user_ids=[UUID(int=9)]), ""),
        (OrdersAsked(on_hold=True), "a"),
        (OrdersAsked(on_hold=False), "dcb"),
        (OrdersAsked(statuses=final, user_ids=[UUID(ANNS_ID)], on_hold=False), "c"),
    ]:
        assert "".join(await order_ids(world, asked)) == expected


async def test_disputes_are_newest_recorded_first_and_found_by_what_they_are(world: World) -> None:
    for n, (reason, due) in enumerate([("fraud", 5), ("fraud", 6), ("other", None)]):
        world.clock.advance(seconds=1)
        order_id = f"ord-{n}"
        body = chargeback_webhook(
            order_id, minute=9 - n, reason=reason, evidence_due_at=None if due is None else at(due)
        )
        await world.receive(order_webhook(order_id), body)
    await world.receive(chargeback_webhook("ord-1", "closed", 20, "won"))
    read = queries(world)
    due_6 = (await world.dispute("ord-1")).evidence_due_at
    for asked, expected in [
        (DisputesAsked(), ["ord-2", "ord-1", "ord-0"]),
        (DisputesAsked(reasons=["fraud"]), ["ord-1", "ord-0"]),
        (DisputesAsked(statuses=[DisputeStatus.OPEN]), ["ord-2", "ord-0"]),
        (DisputesAsked(statuses=[DisputeStatus.WON, DisputeStatus.LOST]), ["ord-1"]),
        (DisputesAsked(order_ids=["ord-0", "ord-2", "nobody"]), ["ord-2", "ord-0"]),
        (DisputesAsked(due_before=due_6), ["ord-0"]),
    ]:
        items, pages = await all_pages(lambda after, n, a=asked: read.disputes(a, after, n), 1)
        assert [item.dispute.order_id for item in items] == expected
        assert pages == max(1, len(expected))


async def test_events_are_found_by_stream_kind_and_a_half_open_window(world: World) -> None:
    for n in range(3):
        world.clock.set(TODAY_AT_NOON + timedelta(days=n))  # in three partitions
        await world.receive(order_webhook("a", minute=n), order_webhook("b", minute=n))
        await world.replica().operate.set_hold("a", list(HoldReason)[n % 2], ANN)
    read = queries(world)
    day = [TODAY_AT_NOON + timedelta(days=n) for n in range(4)]
    orders = EventsAsked(Space.ORDER)
    everything, _ = await all_pages(lambda after, n: read.events(orders, after, n), 2)
    assert len(everything) == 9
    assert len({event.event_id for event in everything}) == 9
    times = [event.created_at for event in everything]
    assert times == sorted(times, reverse=True)
    for asked, count in [
        (EventsAsked(Space.DISPUTE), 0),
        (EventsAsked(Space.ORDER, streams=["a"]), 6),
        (EventsAsked(Space.ORDER, streams=["a", "b"]), 9),
        (EventsAsked(Space.ORDER, kinds=["hold_set"]), 3),
        (EventsAsked(Space.ORDER, kinds=["hold_set", "webhook_received"], streams=["b"]), 3),
        (EventsAsked(Space.ORDER, time_from=day[1]), 6),
        (EventsAsked(Space.ORDER, time_to=day[1]), 3),
        (EventsAsked(Space.ORDER, time_from=day[1], time_to=day[2]), 3),
        (EventsAsked(Space.ORDER, time_from=times[-1], time_to=times[-1]), 0),
        (EventsAsked(Space.ORDER, kinds=["hold_set"], time_from=day[0], time_to=day[3]), 3),
        (EventsAsked(Space.ORDER, streams=["nobody"]), 0),
    ]:
        for ascending in (True, False):
            question = EventsAsked(
                asked.space, asked.streams, asked.kinds, asked.time_from, asked.time_to, ascending
            )
            found, _ = await all_pages(lambda after, n, q=question: read.events(q, after, n), 2)
            places = [(event.created_at, str(event.event_id)) for event in found]
            assert places == sorted(places, reverse=not ascending)
            assert len(found) == count, question
