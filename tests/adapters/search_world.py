"""A history with something of everything, and what questions about it must be answered.

How to think about it: the history is made by the same write path as in service, then put on top of
a seeded one; `Truth` holds all that it came to as plain lists and answers each question by walking
over them, in the words of the contract and with nothing clever. A source is right where it says the
very same.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter

import pytest
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.opensearch import questions as of_opensearch
from payment_manager.adapters.postgres.search import questions as of_postgres
from payment_manager.adapters.postgres.seed import seed
from payment_manager.application.ports import (
    AnalyticsAsked,
    DisputeCell,
    DisputesSought,
    DisputeState,
    Document,
    EventsSought,
    Facets,
    Interval,
    LoggedEvent,
    OrderCell,
    OrderState,
    SearchIndex,
    WholeLog,
)
from payment_manager.application.search import REASONS_MAX
from payment_manager.application.search_terms import (
    amount_range,
    dispute_words,
    event_words,
    matches,
)
from payment_manager.domain.dispute_id import dispute_id_of
from payment_manager.domain.order import HoldReason, SetHold
from tests.adapters.world import World
from tests.clock import TODAY_AT_NOON, FakeClock
from tests.opensearch import SECONDS_MAX, IndexNames
from tests.webhooks import BOB, chargeback_webhook, order_webhook

DAYS = 40
SEEDED_ORDERS, SEEDED_DISPUTES = 200, 80

LONG_ID = "".join(chr(code) for code in range(33, 127) if chr(code).isalnum())
LONG_ID = (LONG_ID + "._:~@=+-" * 40)[:255]
"""Every character that an order id may have, and as many as it may."""

REASONS = (
    *("fraud", "Fraud", "FRAUD", "fraud!", "not fraud", "a_b-c", "a_b", "*", "**fraud*", "4.53"),
    *("Straße", "STRASSE", "über", "ÜBER", "İstanbul", "ıspanak", "ΣΊΣΥΦΟΣ", "Σίσυφος", "ﬁnal"),
    *(
        "мошенничество",
        "欺诈 交易",
        "احتيال",
        "זיוף",
        "🙂 fraud",
        "e\u0301t\u00e9",
        'o\'neill "x" \\',
    ),
    *("kind:*", "NOT fraud OR (", "a\u00a0b\u2003c", "x" * 255, "%_%", "{}", "null", " fraud "),
)

AMOUNTS = (
    *("0.01", "9.99", "10", "10.01", "49.99", "50", "99.99", "100", "499.99", "500", "999.99"),
    *("1000", "1000.01", "9999999999999.99", "987654321.98"),
)
AMOUNTS_IN = {
    "USD": AMOUNTS,
    "JPY": ("1", "9", "10", "49", "50", "99", "100", "499", "500", "999", "1000", "9" * 15),
    "KWD": ("0.001", "9.999", "10", "10.001", "999.999", "1000", "999999999999.999"),
    "CLF": ("0.0001", "9.9999", "10", "99.9999", "100", "99999999999.9999"),
}
"""Around the bounds of the ranges, and the largest there are."""

INSTANTS = (
    *("1970-01-01T00:00:00Z", "1970-01-01T00:30:00-11:00", "2100-12-31T23:59:59.999999Z"),
    *("2026-01-31T23:59:59.999999Z", "2026-02-01T00:00:00Z", "2026-01-01T00:59:59+01:00"),
    *("2025-12-28T23:59:59.999Z", "2025-12-29T00:00:00.000001Z", "2024-02-29T12:00:00Z"),
    *("2026-03-29T01:30:00Z", "2026-10-25T00:30:00Z", "2026-03-01T00:00:00-11:00"),
)
"""Around the bounds of days, weeks and months, in and out of UTC."""


@contextmanager
def patience() -> Iterator[None]:
    """Sources may take as long as a busy machine needs. Else a question would be given up, or its
    page be short, where only what it says is tested.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of_opensearch, "ANSWER_SECONDS_MAX", SECONDS_MAX)
        for name in ("WALK_SECONDS_MAX", "WALK_SECONDS_OF_ID", "QUEUE_SECONDS_MAX"):
            patch.setattr(of_postgres, name, SECONDS_MAX)
        for name in ("_WALKING", "_LISTING", "_COUNTING"):
            bounds = {"statement_timeout": f"{SECONDS_MAX:.0f}s"}
            patch.setattr(of_postgres, name, {**getattr(of_postgres, name), **bounds})
        yield


async def make(pool: AsyncConnectionPool) -> None:
    """The history; of some hundred orders."""
    await seed(pool, orders=SEEDED_ORDERS, disputes=SEEDED_DISPUTES, days=DAYS, now=TODAY_AT_NOON)
    clock = FakeClock()
    world = World(pool, clock)
    await world.make()
    await world.webhooks(order_webhook(LONG_ID), chargeback_webhook(LONG_ID, reason=LONG_ID))
    await _odd_reasons(world)
    await _amounts(world)
    await _instants(world)
    await _many_reasons(world)
    # Two of the parked ones find their orders; one waits for ever.
    await world.webhooks(chargeback_webhook("parked-1"), chargeback_webhook("parked-2"))
    await world.webhooks(order_webhook("parked-1"), chargeback_webhook("parked-3"))
    await world.webhooks(order_webhook("parked-2", "success", 3, meta={"currency": "JPY"}))
    await _decided(world)
    for number in range(3):
        await world.webhooks(order_webhook(f"held-{number}", user_id=BOB))
        await world.order(f"held-{number}", lambda at: SetHold(HoldReason.RISK, "ann", at))


async def _odd_reasons(world: World) -> None:
    """All in one transaction: with one time, but for their ids."""
    meta = {"note": "Lieferung AN München", "deep": {"list": ["ünî", 100.50, {"a-b": "c/d"}]}}
    ids = [f"odd-{number}" for number in range(len(REASONS))]
    await world.webhooks(*(order_webhook(id, meta=meta) for id in ids))
    await world.webhooks(
        *(chargeback_webhook(id, reason=reason) for id, reason in zip(ids, REASONS, strict=True))
    )
    await world.webhooks(order_webhook("Case-1"), order_webhook("case-1"), order_webhook("CASE-1"))
    await world.webhooks(chargeback_webhook("Case-1"), chargeback_webhook("case-1"))


async def _amounts(world: World) -> None:
    for currency, amounts in AMOUNTS_IN.items():
        webhooks = []
        for number, amount in enumerate(amounts):
            id, money = f"{currency}-{number}", {"amount": amount, "currency": currency}
            webhooks.append(order_webhook(id, "success", meta=money))
            body = chargeback_webhook(id, amount=0, currency=currency, reason="amounts")
            # As it was written: a float would not hold it.
            webhooks.append(body.replace(b'"amount": 0', f'"amount": {amount}'.encode()))
        await world.webhooks(*webhooks)


async def _instants(world: World) -> None:
    """Opened and decided at each of them; and disputes that were never said to be opened."""
    for number, at in enumerate(INSTANTS):
        id, status = f"at-{number}", "won" if number % 2 else "lost"
        await world.webhooks(
            order_webhook(id, created_at=at, updated_at=at),
            chargeback_webhook(id, occurred_at=at, reason="instants"),
            chargeback_webhook(id, "closed", resolution=status, occurred_at=at),
        )
        await world.webhooks(
            order_webhook(f"un{id}"), chargeback_webhook(f"un{id}", "updated", occurred_at=at)
        )


async def _many_reasons(world: World) -> None:
    """More than are answered; those that just are and just aren't have equal counts."""
    bodies = [
        body
        for number in range(REASONS_MAX + 20)
        for copy in range(1 + (number % 7 == 0))
        for id in (f"why-{number}-{copy}",)
        for body in (
            order_webhook(id),
            chargeback_webhook(id, reason=f"why {number:02}", currency="EUR", amount=0.01),
        )
    ]
    await world.webhooks(*bodies)


async def _decided(world: World) -> None:
    for number, resolution in enumerate(("won", "lost", "canceled", "Won", None) * 2):
        id = f"closed-{number}"
        await world.webhooks(
            order_webhook(id),
            *([chargeback_webhook(id)] if number < 5 else []),
            chargeback_webhook(id, "closed", number, resolution=resolution),
        )
    # What contradicts a decision is recorded, and changes nothing.
    await world.webhooks(chargeback_webhook("closed-0", "closed", 20, resolution="lost"))
    await world.webhooks(order_webhook("closed-1", "success", 5))
    await world.webhooks(order_webhook("closed-1", "failed", 6))


def aliases(names: IndexNames) -> dict[Document, str]:
    return {
        Document.ORDER_EVENT: names.events_orders,
        Document.DISPUTE_EVENT: names.events_disputes,
        Document.ORDER: names.orders,
        Document.DISPUTE: names.disputes,
    }


async def project(log: WholeLog, index: SearchIndex, build: str = "b1") -> "Truth":
    """All there is, into a new build that answers from then on."""
    await index.start_build(build)
    checkpoint = await log.begin(build)
    events = [event async for page in log.events() for event in page]
    orders = [order async for page in log.orders() for order in page]
    disputes = [dispute async for page in log.disputes() for dispute in page]
    assert await index.write(events, orders, disputes, build=build) == []
    await index.refresh(build=build)
    await index.answer_from(build)
    await log.finish(checkpoint, [])
    return Truth.of(events, disputes, orders)


# ── What is true ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Truth:
    """All there is, newest first."""

    logged: Sequence[LoggedEvent]
    disputed: Sequence[DisputeState]
    ordered: Sequence[OrderState]

    @classmethod
    def of(
        cls,
        events: Iterable[LoggedEvent],
        disputes: Iterable[DisputeState],
        orders: Iterable[OrderState],
    ) -> "Truth":
        newest = attrgetter("created_at", "event_id")
        recorded = attrgetter("recorded_at", "dispute_id")
        return cls(
            sorted({event.event_id: event for event in events}.values(), key=newest, reverse=True),
            sorted(disputes, key=recorded, reverse=True),
            sorted(orders, key=attrgetter("order_id")),
        )

    def events(self, sought: EventsSought) -> list[LoggedEvent]:
        disputes = {*map(dispute_id_of, sought.order_ids), *sought.dispute_ids}
        return [
            event
            for event in self.logged
            if _is_one(event.kind, sought.kinds)
            and _is_within(event.created_at, sought.time_from, sought.time_to)
            and (
                not disputes
                or event.dispute_id in disputes
                or (event.dispute_id is None and event.order_id in sought.order_ids)
            )
            and matches(event_words(event), sought.words)
        ]

    def disputes(self, sought: DisputesSought) -> list[DisputeState]:
        return [
            each
            for each in self.disputed
            if _is_one(each.status, sought.statuses)
            and _is_one(each.reason, sought.reasons)
            and _is_one(each.currency, sought.currencies)
            and _is_one(_month(each), sought.months)
            and _is_one(amount_range(each.amount_minor, each.currency), sought.amount_ranges)
            and _is_one(each.order_id, sought.order_ids)
            and _is_within(each.disputed_at, sought.time_from, sought.time_to)
            and matches(dispute_words(each), sought.words)
        ]

    def facets(self, sought: DisputesSought) -> Facets:
        found = self.disputes(sought)
        reasons = Counter(each.reason for each in found)
        first = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:REASONS_MAX]
        ranges = (amount_range(each.amount_minor, each.currency) for each in found)
        return Facets(
            total=len(found),
            statuses=Counter(each.status for each in found),
            reasons=dict(first),
            currencies=Counter(each.currency for each in found),
            months=Counter(map(_month, found)),
            amount_ranges=Counter(ranges),
        )

    def dispute_cells(self, asked: AnalyticsAsked) -> list[DisputeCell]:
        counted: dict[tuple[datetime | None, str | None, str, str], list[int]] = {}
        for each in self.disputed:
            if not (
                _is_one(each.reason, asked.reasons) and _is_one(each.currency, asked.currencies)
            ):
                continue
            happened = {"opened": each.disputed_at}
            if each.status in ("won", "lost") and each.closed_at is not None:
                happened[each.status] = each.closed_at
            for what, time in happened.items():
                if _is_within(time, asked.time_from, asked.time_to):
                    start = _start(asked.interval, time)
                    for place in ((start, None), (None, each.reason)):
                        cell = counted.setdefault((*place, what, each.currency), [0, 0])
                        cell[0] += 1
                        cell[1] += each.amount_minor
        return [DisputeCell(*key, *numbers) for key, numbers in counted.items()]

    def order_cells(self, asked: AnalyticsAsked) -> list[OrderCell]:
        counted: dict[tuple[datetime, str], list[int]] = {}
        for each in self.ordered:
            is_asked = not asked.currencies or each.currency in asked.currencies
            if is_asked and _is_within(each.created_at, asked.time_from, asked.time_to):
                start = _start(asked.interval, each.created_at)
                flags = (True, each.on_hold, each.was_held, each.capture_status == "success")
                cell = counted.setdefault((start, each.status), [0, 0, 0, 0])
                for place, flag in enumerate(flags):
                    cell[place] += flag
        return [OrderCell(*key, *numbers) for key, numbers in counted.items()]


def _is_one(value: str, wanted: Sequence[str]) -> bool:
    return not wanted or value in wanted


def _is_within(time: datetime, start: datetime | None, end: datetime | None) -> bool:
    return (start is None or start <= time) and (end is None or time < end)


def _month(dispute: DisputeState) -> str:
    return f"{dispute.disputed_at.astimezone(UTC):%Y-%m}"


def _start(interval: Interval, time: datetime) -> datetime:
    day = time.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    match interval:
        case Interval.DAY:
            return day
        case Interval.WEEK:
            return day - timedelta(days=day.isoweekday() - 1)
        case Interval.MONTH:
            return day.replace(day=1)
