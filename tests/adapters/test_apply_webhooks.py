"""The one write path on the real database: what a webhook comes to, whatever happens beside it."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.application.apply_webhooks import ApplyWebhooks, Taken
from payment_manager.application.ports import Unavailable, WriteRefused
from payment_manager.domain.decider import Outcome
from payment_manager.domain.dispute_id import dispute_id_of
from payment_manager.domain.rejections import DecisionContradicts
from tests.adapters.conftest import Query, write_path
from tests.clock import FakeClock
from tests.webhooks import as_webhook, chargeback_webhook, order_webhook

APPLIED, STALE, PARKED = Outcome.APPLIED, Outcome.STALE, Outcome.PARKED
REJECTED, DUPLICATE, CONFLICT = Outcome.REJECTED, Outcome.DUPLICATE, Outcome.CONFLICT


async def taken(apply: ApplyWebhooks, *bodies: bytes) -> list[Taken]:
    """What a batch of these came to."""
    results = await apply([as_webhook(body) for body in bodies])
    assert all(isinstance(result, Taken) for result in results)
    return [result for result in results if isinstance(result, Taken)]


async def outcomes(apply: ApplyWebhooks, *bodies: bytes) -> list[Outcome]:
    return [result.outcome for result in await taken(apply, *bodies)]


# ── What one webhook comes to ─────────────────────────────────────────────────────────────────────


async def test_the_first_webhook_of_an_order_creates_it(apply: ApplyWebhooks, query: Query) -> None:
    [result] = await taken(apply, order_webhook())

    assert result == Taken(APPLIED, "ord-1", None)
    assert await query("SELECT status, amount_minor, currency, sequence FROM orders") == [
        ("created", 10050, "USD", 1)
    ]
    assert await query("SELECT kind, sequence, data->>'outcome' FROM order_events") == [
        ("webhook_received", 1, "applied")
    ]


async def test_a_late_webhook_is_recorded_and_moves_nothing(
    apply: ApplyWebhooks, query: Query
) -> None:
    await outcomes(apply, order_webhook(status="success", minute=9))

    assert await outcomes(apply, order_webhook(status="updated", minute=5)) == [STALE]
    assert await query("SELECT status, sequence FROM orders") == [("success", 2)]


@pytest.mark.parametrize(
    "body", [order_webhook(minute=2), chargeback_webhook()], ids=["order", "chargeback"]
)
async def test_a_redelivery_is_a_duplicate_and_leaves_no_event(
    apply: ApplyWebhooks, query: Query, body: bytes
) -> None:
    await outcomes(apply, order_webhook(minute=1))
    await outcomes(apply, body)
    spaced = body.replace(b", ", b" ,\n ")

    assert await outcomes(apply, body, spaced) == [DUPLICATE, DUPLICATE]
    assert await query(
        "SELECT (SELECT count(*) FROM order_events) + (SELECT count(*) FROM dispute_events)"
    ) == [(2,)]


async def test_an_id_with_other_content_is_a_conflict(apply: ApplyWebhooks, query: Query) -> None:
    await outcomes(apply, order_webhook(provider_event_id="evt-a"))

    other = order_webhook(provider_event_id="evt-a", status="success", minute=9)
    assert await outcomes(apply, other) == [CONFLICT]
    assert await query("SELECT status, sequence FROM orders") == [("created", 1)]


async def test_an_id_belongs_to_one_order_and_one_space(apply: ApplyWebhooks) -> None:
    bodies = [
        order_webhook("ord-1", provider_event_id="evt-a"),
        order_webhook("ord-2", provider_event_id="evt-a"),
        chargeback_webhook("ord-1", provider_event_id="evt-a"),
    ]
    assert await outcomes(apply, *bodies) == [APPLIED] * 3


async def test_a_contradicting_decision_is_recorded_and_refused_at_every_delivery(
    apply: ApplyWebhooks, query: Query
) -> None:
    contradicting = order_webhook(status="success", minute=9)
    await outcomes(apply, order_webhook(status="failed", minute=1))

    refused = Taken(REJECTED, "ord-1", None, DecisionContradicts("failed", "success"))
    assert await taken(apply, contradicting) == [refused]
    assert await taken(apply, contradicting) == [refused]
    assert await query("SELECT status, sequence FROM orders") == [("failed", 2)]
    assert await query("SELECT kind FROM order_events ORDER BY sequence") == [
        ("webhook_received",),
        ("webhook_rejected",),
    ]


# ── Parking ───────────────────────────────────────────────────────────────────────────────────────


async def test_a_chargeback_of_an_unknown_order_is_parked(
    apply: ApplyWebhooks, query: Query
) -> None:
    body = chargeback_webhook()

    assert await taken(apply, body) == [Taken(PARKED, "ord-1", dispute_id_of("ord-1"))]
    assert await outcomes(apply, body) == [DUPLICATE]
    assert await query("SELECT payload::text FROM parked_webhooks") == [(body.decode(),)]
    assert await query("SELECT FROM disputes") == []


async def test_what_was_parked_is_applied_in_the_orders_own_transaction(
    apply: ApplyWebhooks, query: Query, clock: FakeClock
) -> None:
    parked_at = clock.now()
    await outcomes(apply, chargeback_webhook(status="updated", minute=5, reason="fraud"))
    await outcomes(apply, chargeback_webhook(status="opened", minute=3, reason="duplicate"))
    clock.advance(hours=1)

    assert await outcomes(apply, order_webhook()) == [APPLIED]
    assert await query("SELECT status, reason, opened_at IS NULL FROM disputes") == [
        ("open", "fraud", False)
    ]
    events = await query(
        "SELECT kind, (data->>'parked_at')::timestamptz FROM dispute_events ORDER BY sequence"
    )
    assert events == [("webhook_updated", parked_at), ("webhook_opened", parked_at)]
    assert await query("SELECT FROM parked_webhooks") == []
    assert await query(
        "SELECT count(DISTINCT transaction_id) FROM ("
        " SELECT transaction_id FROM order_events"
        " UNION SELECT transaction_id FROM dispute_events) AS both_logs"
    ) == [(1,)]


async def test_parked_and_applied_in_one_batch_leaves_nothing_parked(
    apply: ApplyWebhooks, query: Query
) -> None:
    chargeback = chargeback_webhook()
    batch = [chargeback, order_webhook(), chargeback]

    assert await outcomes(apply, *batch) == [PARKED, APPLIED, DUPLICATE]
    assert await query("SELECT FROM parked_webhooks") == []
    assert await query("SELECT status FROM disputes") == [("open",)]


@pytest.mark.parametrize("one_batch", [True, False], ids=["in one batch", "in three"])
async def test_a_parked_chargeback_that_came_to_a_rejection_is_refused_when_redelivered(
    apply: ApplyWebhooks, query: Query, one_batch: bool
) -> None:
    won = chargeback_webhook(status="closed", minute=5, resolution="won")
    lost = chargeback_webhook(status="closed", minute=6, resolution="lost")
    if one_batch:
        assert await outcomes(apply, won, lost, order_webhook()) == [PARKED, PARKED, APPLIED]
    else:
        for body, outcome in ((won, PARKED), (lost, PARKED), (order_webhook(), APPLIED)):
            assert await outcomes(apply, body) == [outcome]

    [first, second] = await taken(apply, won, lost)
    assert first.outcome is DUPLICATE
    assert (second.outcome, second.rejection) == (REJECTED, DecisionContradicts("won", "lost"))
    assert await query("SELECT status FROM disputes") == [("won",)]
    assert await query("SELECT kind FROM dispute_events ORDER BY sequence") == [
        ("provider_decision",),
        ("webhook_rejected",),
    ]


# ── Batches ───────────────────────────────────────────────────────────────────────────────────────


async def test_webhooks_of_one_order_in_one_batch_see_what_came_before_them(
    apply: ApplyWebhooks, query: Query
) -> None:
    first = order_webhook(minute=1)
    batch = [
        first,
        order_webhook(status="failed", minute=5),
        first,
        order_webhook(status="updated", minute=3),
        order_webhook(status="success", minute=9),
        chargeback_webhook(),
    ]
    assert await outcomes(apply, *batch) == [APPLIED, APPLIED, DUPLICATE, STALE, REJECTED, APPLIED]
    assert await query("SELECT status, sequence FROM orders") == [("failed", 4)]
    assert await query("SELECT sequence FROM order_events ORDER BY created_at, event_id") == [
        (1,),
        (2,),
        (3,),
        (4,),
    ]


@pytest.mark.parametrize("place", [0, 3, 7])
async def test_a_webhook_that_the_database_refuses_does_not_take_its_neighbours_along(
    apply: ApplyWebhooks, query: Query, place: int
) -> None:
    await query("ALTER TABLE orders ADD CHECK (order_id <> 'poison')")
    bodies = [order_webhook(f"ord-{n}") for n in range(8)]
    bodies[place] = order_webhook("poison")

    results = await apply([as_webhook(body) for body in bodies])

    assert [n for n, each in enumerate(results) if isinstance(each, WriteRefused)] == [place]
    assert all(r.outcome is APPLIED for r in results if isinstance(r, Taken))
    assert await query("SELECT count(*) FROM orders") == [(7,)]
    assert await query("SELECT FROM webhook_ids WHERE order_id = 'poison'") == []


async def test_a_missing_table_is_passing_trouble_and_leaves_nothing_behind(
    apply: ApplyWebhooks, query: Query
) -> None:
    await query("ALTER TABLE webhook_ids RENAME TO away")
    with pytest.raises(Unavailable):
        await apply([as_webhook(order_webhook())])
    await query("ALTER TABLE away RENAME TO webhook_ids")

    assert await query("SELECT FROM orders") == []
    assert await query("SELECT FROM order_events") == []


async def test_a_transaction_has_the_same_statements_however_large_its_batch(
    database_url: str, query: Query, clock: FakeClock
) -> None:
    await query("CREATE EXTENSION pg_stat_statements")
    mine = "WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"

    async def statements_of(apply: ApplyWebhooks, orders: Sequence[str]) -> int:
        # Each kind of statement is there: creation, an update of it, and a dispute that was parked.
        parked = [chargeback_webhook(order_id) for order_id in orders]
        first = [order_webhook(order_id) for order_id in orders]
        again = [order_webhook(order_id, "updated", 5) for order_id in orders]
        await outcomes(apply, *parked)
        before = await query(f"SELECT coalesce(sum(calls), 0) FROM pg_stat_statements {mine}")
        await outcomes(apply, *first, *again)
        after = await query(f"SELECT sum(calls) FROM pg_stat_statements {mine}")
        return int(after[0][0] - before[0][0])

    async with connection_pool(database_url, size_max=1, size_min=1) as pool:
        apply = write_path(pool, clock)
        small = await statements_of(apply, ["ord-1"])
        large = await statements_of(apply, [f"many-{n}" for n in range(200)])
    assert small == large
    # BEGIN, one each to lock, read and write, COMMIT; and the look at the statistics.
    assert small == 6


# ── What is stored ────────────────────────────────────────────────────────────────────────────────


async def test_the_payload_is_kept_byte_for_byte(apply: ApplyWebhooks, query: Query) -> None:
    order = (
        '{ "provider_event_id" : "evt-a",\n\t"order_id":"ord-1","user_id":"'
        '11111111-1111-1111-1111-111111111111","status":"failed", "status":"created",'
        '"created_at":"2026-01-02T10:00:00.1234567+02:00","updated_at":"2026-01-02T10:00:00Z",'
        '"extra":[1.50,1E2,"\\u00e9é\\ud83d\\ude00"], "meta":{"amount":100.500,"currency":"USD"} }'
    ).encode()
    chargeback = chargeback_webhook().replace(b"100.5", b"100.500").replace(b", ", b" , ")

    await outcomes(apply, chargeback)
    await outcomes(apply, order)

    [(data,)] = await query("SELECT data::text FROM order_events")
    assert data.encode() == b'{"outcome":"applied","payload":' + order + b"}"
    [(data,)] = await query("SELECT data::text FROM dispute_events")
    assert data.encode().startswith(b'{"outcome":"applied","payload":' + chargeback + b',"parked_')


async def test_an_orders_events_are_in_time_order_even_if_the_clock_goes_back(
    apply: ApplyWebhooks, query: Query, clock: FakeClock
) -> None:
    for minute, step in enumerate([0, 60, -3600, 0, 1, -1]):
        clock.advance(seconds=step)
        await outcomes(
            apply,
            order_webhook(status="updated", minute=minute),
            order_webhook(status="updated", minute=minute + 100),
            chargeback_webhook(status="updated", minute=minute),
        )
    for log in ("order_events", "dispute_events"):
        events = await query(f"SELECT created_at FROM {log} ORDER BY sequence")
        times = [time for (time,) in events]
        assert times == sorted(set(times))
    assert await query(
        "SELECT first_event_at = (SELECT min(created_at) FROM order_events),"
        " last_event_at = (SELECT max(created_at) FROM order_events) FROM orders"
    ) == [(True, True)]


# ── At the same moment ────────────────────────────────────────────────────────────────────────────


async def test_fifty_identical_webhooks_at_once_have_one_effect(
    apply: ApplyWebhooks, query: Query
) -> None:
    body = order_webhook()
    results = await asyncio.gather(*(outcomes(apply, body) for _ in range(50)))

    assert Counter(outcome for [outcome] in results) == {APPLIED: 1, DUPLICATE: 49}
    assert await query("SELECT count(*) FROM order_events") == [(1,)]


async def test_two_openings_with_different_ids_at_once_make_one_dispute(
    apply: ApplyWebhooks, query: Query
) -> None:
    orders = [f"ord-{n}" for n in range(20)]
    await outcomes(apply, *map(order_webhook, orders))

    await asyncio.gather(
        *(outcomes(apply, chargeback_webhook(order_id)) for order_id in orders for _ in range(2))
    )

    assert await query("SELECT count(*) FROM disputes") == [(20,)]
    assert await query("SELECT DISTINCT sequence FROM disputes") == [(2,)]


async def test_a_chargeback_beside_its_orders_first_webhook_is_never_left_parked(
    apply: ApplyWebhooks, query: Query
) -> None:
    came_to: Counter[Outcome] = Counter()

    async def race(number: int) -> None:
        order_id = f"ord-{number}"
        bodies = [order_webhook(order_id), chargeback_webhook(order_id)]
        # Either may be the first to be sent; who gets the lock is up to the server.
        results = await asyncio.gather(
            *(taken(apply, body) for body in (bodies if number % 2 else reversed(bodies)))
        )
        came_to.update(each.outcome for [each] in results if each.dispute_id is not None)

    for start in range(0, 1000, 4):
        await asyncio.gather(*(race(number) for number in range(start, start + 4)))

    assert came_to[APPLIED] + came_to[PARKED] == 1000
    assert came_to[APPLIED]
    assert came_to[PARKED]
    assert await query("SELECT FROM parked_webhooks") == []
    assert await query("SELECT count(*) FROM disputes") == [(1000,)]
    assert await query("SELECT count(*) FROM dispute_events") == [(1000,)]


async def test_batches_that_overlap_in_any_order_do_not_stop_each_other(
    apply: ApplyWebhooks, query: Query
) -> None:
    shuffled = random.Random(7)
    orders = [f"ord-{n}" for n in range(30)]

    async def send(number: int) -> None:
        batch = [order_webhook(o, "updated", number) for o in shuffled.sample(orders, 20)]
        await outcomes(apply, *batch)

    await asyncio.gather(*(send(number) for number in range(40)))

    assert await query("SELECT count(*) FROM order_events") == [(40 * 20,)]
    assert await query("SELECT sum(sequence) FROM orders") == [(40 * 20,)]


# ── Any arrival ───────────────────────────────────────────────────────────────────────────────────


def history(order_id: str) -> list[bytes]:
    """A provider's life of one order and its chargeback, without contradicting decisions."""
    orders = [("created", 0), ("updated", 4), ("updated", 4), ("success", 6), ("success", 8)]
    chargebacks = [("opened", 2, None), ("updated", 3, None), ("updated", 7, None)]
    closed = [("closed", 5, None), ("closed", 6, "won"), ("closed", 9, "won")]
    amounts: list[dict[str, str]] = [{}, {"amount": "7", "currency": "JPY"}]
    return [
        order_webhook(order_id, status, minute, provider_event_id=f"o-{n}", meta=amounts[n % 2])
        for n, (status, minute) in enumerate(orders)
    ] + [
        chargeback_webhook(
            order_id,
            status,
            minute,
            resolution,
            provider_event_id=f"c-{n}",
            reason=f"reason {n}",
            evidence_due_at="2026-02-01T00:00:00Z" if n == 1 else None,
        )
        for n, (status, minute, resolution) in enumerate([*chargebacks, *closed])
    ]


ROWS = """
    SELECT DISTINCT o.user_id, o.status, o.created_at, o.updated_at, o.amount_minor, o.currency,
        o.provenance::text, d.decision, d.progress, d.reason, d.amount_minor, d.opened_at,
        d.evidence_due_at, d.closed_at, d.provenance::text
    FROM orders AS o LEFT JOIN disputes AS d USING (order_id)
"""


async def test_any_arrival_in_any_batches_ends_in_the_same_rows(
    apply: ApplyWebhooks, query: Query
) -> None:
    chance = random.Random(2026)
    await outcomes(apply, *history("in-order"))
    for number in range(40):
        waiting = history(f"shuffled-{number}")
        waiting += chance.sample(waiting, 4)
        chance.shuffle(waiting)
        while waiting:
            size = chance.randint(1, 6)
            assert REJECTED not in await outcomes(apply, *waiting[:size])
            del waiting[:size]

    assert len(await query(ROWS)) == 1
    assert await query("SELECT DISTINCT sequence FROM disputes") == [(6,)]


async def test_a_history_that_arrives_all_at_once_ends_in_the_same_rows(
    apply: ApplyWebhooks, query: Query
) -> None:
    chance = random.Random(2027)
    await outcomes(apply, *history("in-order"))
    for number in range(10):
        bodies = history(f"at-once-{number}") * 2
        chance.shuffle(bodies)
        results = await asyncio.gather(*(outcomes(apply, body) for body in bodies))
        assert Counter(outcome for [outcome] in results)[DUPLICATE] == len(bodies) // 2

    assert len(await query(ROWS)) == 1
    assert await query("SELECT FROM parked_webhooks") == []
