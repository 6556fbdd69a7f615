"""The read side: single rows, and lists page by page.

How to think about it: a question is answered from what is committed, never from memory. Point reads
that are in flight at the same moment share a query, as webhooks share a transaction. A page asks
for one row more than it shows: that row says whether there is a next page, and nothing is counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar
from uuid import UUID

from payment_manager.application.batching import Batcher
from payment_manager.application.patience import patiently
from payment_manager.application.ports import (
    EVENT_BYTES_MAX,
    DisputeRow,
    DisputesAsked,
    EventRow,
    EventsAsked,
    OrdersAsked,
    Place,
    ReadModel,
)
from payment_manager.domain.dispute import Dispute
from payment_manager.domain.order import Order

Row = TypeVar("Row")

POINT_READS_MAX = 256
"""A query: a page of index look-ups. More would make the first wait for the last."""

EVENTS_AT_ONCE = 101
"""A page of the usual length, with the row that tells of the next, is one question."""


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """`next`: where the page ended, if there is more behind it."""

    items: Sequence[Row]
    next: Place | None


class Queries:
    """Every method raises `Unavailable`."""

    def __init__(self, read_model: ReadModel, *, queue_max: int) -> None:
        self._read_model = read_model
        self.orders_in_flight = Batcher(
            self._orders, batch_max=POINT_READS_MAX, queue_max=queue_max, calls_max=2
        )
        self.disputes_in_flight = Batcher(
            self._disputes, batch_max=POINT_READS_MAX, queue_max=queue_max, calls_max=2
        )

    async def order(self, order_id: str) -> Order | None:
        return await self.orders_in_flight.submit(order_id)

    async def dispute(self, dispute_id: UUID) -> Dispute | None:
        return await self.disputes_in_flight.submit(dispute_id)

    async def orders(self, asked: OrdersAsked, after: Place | None, limit: int) -> Page[Order]:
        rows = await patiently(lambda: self._read_model.orders(asked, after, limit + 1))
        return _page(
            rows,
            limit,
            lambda row: (row.updated_at if asked.by_update else row.created_at, row.order_id),
        )

    async def disputes(
        self, asked: DisputesAsked, after: Place | None, limit: int
    ) -> Page[DisputeRow]:
        rows = await patiently(lambda: self._read_model.disputes(asked, after, limit + 1))
        return _page(rows, limit, lambda row: (row.recorded_at, str(row.dispute.dispute_id)))

    async def events(self, asked: EventsAsked, after: Place | None, limit: int) -> Page[EventRow]:
        """Fewer than `limit` where they would be more than `EVENT_BYTES_MAX`."""
        rows: list[EventRow] = []
        while True:
            wanted = min(limit + 1 - len(rows), EVENTS_AT_ONCE)
            place = _event_place(rows[-1]) if rows else after
            found = await patiently(partial(self._read_model.events, asked, place, wanted))
            rows += found
            if len(found) < wanted or len(rows) > limit:
                return _page(rows, limit, _event_place)
            if sum(len(row.data) for row in rows) > EVENT_BYTES_MAX:
                return _page(rows, len(rows) - 1, _event_place)

    async def _orders(self, order_ids: Sequence[str]) -> Sequence[Order | None]:
        found = await self._read_model.orders_by_id(order_ids)
        return [found.get(order_id) for order_id in order_ids]

    async def _disputes(self, dispute_ids: Sequence[UUID]) -> Sequence[Dispute | None]:
        found = await self._read_model.disputes_by_id(dispute_ids)
        return [found.get(dispute_id) for dispute_id in dispute_ids]


def _page(rows: Sequence[Row], limit: int, place: Callable[[Row], Place]) -> Page[Row]:
    items = rows[:limit]
    return Page(items, place(items[-1]) if len(rows) > limit else None)


def _event_place(row: EventRow) -> Place:
    return row.created_at, row.event_id
