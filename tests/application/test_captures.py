"""Captures: whatever goes wrong between us and the provider, money moves once and the log knows it.

How to think about it: each test ends with one question to the provider's ledger (how many effects)
and one to our log (which outcome). In between, connections break, replicas die and databases go
away; an answer to the operator may be late (pending), but never wrong.
"""

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
import structlog

from payment_manager.application.ask_provider import ASK_AGAIN_MAX, LEASE_MARGIN, provider_key
from payment_manager.application.operate import Captured
from payment_manager.application.ports import (
    Attempt,
    Changes,
    OpenIntents,
    Space,
    Unavailable,
    WriteRefused,
)
from payment_manager.application.reconcile import CLAIM_MAX, OVERDUE_AFTER
from payment_manager.domain import rejections
from payment_manager.domain.money import Money
from payment_manager.domain.order import AttemptStatus, Capture, HoldReason
from tests.application.world import (
    ANN,
    ASK_AGAIN_AFTER,
    PROVIDER_TIMEOUT,
    InterruptedDatabase,
    InterruptedGateway,
    Killed,
    LostReadModel,
    Replica,
    World,
    killed,
)
from tests.webhooks import order_webhook

pytestmark = pytest.mark.asyncio(loop_scope="module")

USD_50 = Money(5000, "USD")
LEASE = PROVIDER_TIMEOUT + LEASE_MARGIN
PENDING, SUCCESS, FAILED = AttemptStatus.PENDING, AttemptStatus.SUCCESS, AttemptStatus.FAILED

REQUESTED = ["webhook_received", "capture_requested"]
COMPLETED = [*REQUESTED, "capture_completed"]

# What happens to the provider's first answer, and whether the money had moved all the same.
LOST_ANSWERS = {
    "slow": 1,
    "error_500": 0,
    "rate_limited": 0,
    "drop_before": 0,
    "drop_after": 1,
    "garbage": 1,
}


async def capture(
    replica: Replica, order_id: str = "ord-1", key: str = "k", money: Money = USD_50
) -> Captured:
    answer = await replica.operate.capture(order_id, key, money, ANN)
    assert isinstance(answer, Captured)
    return answer


async def reconciled(world: World, after: timedelta) -> int:
    """How many were asked by a replica that comes along so much later."""
    world.clock.advance(seconds=after.total_seconds())
    return await world.replica().reconcile.run_once()


# ── The provider answers ──────────────────────────────────────────────────────────────────────────


async def test_a_capture_is_done_once_and_its_outcome_is_in_the_log(world: World) -> None:
    await world.known_order()
    answer = await capture(world.replica())
    assert (answer.capture.status, answer.replayed) == (SUCCESS, False)
    [effect] = world.effects()
    assert answer.capture.provider_tx_id in effect["answer"]
    assert (await world.order()).capture == answer.capture
    assert await world.order_log() == COMPLETED


async def test_the_provider_is_sent_our_key_and_the_correlation_id(world: World) -> None:
    await world.known_order()
    await capture(world.replica(), key="invoice 4711")
    [call] = world.calls()
    assert call["key"] == provider_key(Space.ORDER, "ord-1", "invoice 4711")
    assert call["correlation_id"] == ANN.correlation_id


async def test_the_same_key_again_gives_the_first_answer_again(world: World) -> None:
    await world.known_order()
    first = await capture(world.replica())
    world.clock.advance(minutes=1)
    assert await capture(world.replica()) == replace(first, replayed=True)
    assert len(world.calls()) == 1
    assert await world.order_log() == COMPLETED


async def test_twenty_captures_at_once_with_one_key_are_one_call_and_do_not_contradict(
    world: World,
) -> None:
    await world.known_order()
    replicas = [world.replica() for _ in range(4)]
    answers = await asyncio.gather(*(capture(replicas[n % 4]) for n in range(20)))
    assert {answer.capture.status for answer in answers} <= {PENDING, SUCCESS}
    references = {a.capture.provider_tx_id for a in answers if a.capture.status is SUCCESS}
    assert len(references) == 1
    assert len(world.calls()) == len(world.effects()) == 1
    assert await world.order_log() == COMPLETED


async def test_twenty_captures_at_once_with_keys_of_their_own_move_the_money_once(
    world: World,
) -> None:
    await world.known_order()
    operate = world.replica().operate
    answers = await asyncio.gather(
        *(operate.capture("ord-1", f"k-{n}", USD_50, ANN) for n in range(20))
    )
    refused = {rejections.CaptureInProgress(), rejections.AlreadyCaptured()}
    assert [isinstance(answer, Captured) for answer in answers].count(True) == 1
    assert {answer for answer in answers if not isinstance(answer, Captured)} <= refused
    assert len(world.effects()) == 1


@pytest.mark.parametrize("other", [Money(5001, "USD"), Money(5000, "EUR")])
async def test_the_same_key_with_other_parameters_is_refused(world: World, other: Money) -> None:
    await world.known_order()
    operate = world.replica().operate
    await capture(world.replica())
    assert await operate.capture("ord-1", "k", other, ANN) == rejections.KeyReused()
    assert len(world.calls()) == 1


async def test_after_a_failed_capture_another_key_may_try_and_the_failed_one_is_replayed(
    world: World,
) -> None:
    await world.known_order()
    world.spoil("decline")
    failed = await capture(world.replica(), key="first")
    assert (failed.capture.status, failed.replayed) == (FAILED, False)
    assert failed.capture.error
    assert failed.capture.provider_tx_id  # a declined capture has a transaction, too
    second = await capture(world.replica(), key="second")
    assert second.capture.status is SUCCESS
    assert await capture(world.replica(), key="first") == replace(failed, replayed=True)
    assert await world.order_log() == [
        *REQUESTED, "capture_failed", "capture_requested", "capture_completed",
    ]  # fmt: skip
    assert len(world.effects()) == 1


async def test_one_key_on_two_orders_is_two_captures(world: World) -> None:
    await world.known_order("ord-1")
    await world.known_order("ord-2")
    one = await capture(world.replica(), "ord-1")
    two = await capture(world.replica(), "ord-2")
    assert one.capture.provider_tx_id != two.capture.provider_tx_id
    assert len(world.effects("ord-1")) == len(world.effects("ord-2")) == 1


async def test_a_refused_capture_asks_nobody_and_does_not_use_up_its_key(world: World) -> None:
    await world.known_order()
    operate = world.replica().operate
    await operate.set_hold("ord-1", HoldReason.RISK, ANN)
    assert await operate.capture("ord-1", "k", USD_50, ANN) == rejections.OrderOnHold()
    await operate.clear_hold("ord-1", ANN)
    too_much = Money(10051, "USD")
    assert await operate.capture("ord-1", "k", too_much, ANN) == rejections.AmountTooLarge()
    assert world.calls() == []
    assert (await capture(world.replica())).capture.status is SUCCESS


async def test_an_unknown_order_has_nothing_to_capture(world: World) -> None:
    answer = await world.replica().operate.capture("nobody", "k", USD_50, ANN)
    assert answer == rejections.OrderUnknown()


async def test_a_key_may_be_anything_printable_and_long(world: World) -> None:
    await world.known_order()
    key = "".join(map(chr, range(32, 127))) + "x" * 160
    assert (await capture(world.replica(), key=key)).capture.status is SUCCESS
    assert (await capture(world.replica(), key=key)).replayed


# ── The provider's answer is lost ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", LOST_ANSWERS)
async def test_a_lost_answer_is_pending_until_asking_again_finds_it(
    world: World, fault: str
) -> None:
    await world.known_order()
    world.spoil(fault, delay_ms=3000 if fault == "slow" else None)
    with world.impatient() if fault == "slow" else nullcontext():
        answer = await capture(world.replica())
    assert (answer.capture.status, answer.replayed) == (PENDING, False)
    await world.effects_are(LOST_ANSWERS[fault])
    assert await world.order_log() == REQUESTED

    assert await reconciled(world, ASK_AGAIN_AFTER - timedelta(seconds=1)) == 0  # not due yet
    assert (await capture(world.replica())).capture.status is PENDING
    assert len(world.calls()) == 1
    assert await reconciled(world, timedelta(seconds=1)) == 1

    assert len(world.effects()) == 1
    assert len({call["key"] for call in world.calls()}) == 1
    assert await world.order_log() == COMPLETED
    known = await capture(world.replica())
    assert (known.capture.status, known.replayed) == (SUCCESS, True)
    assert await reconciled(world, timedelta(days=1)) == 0  # settled is settled


async def test_a_lost_answer_may_turn_out_to_be_a_no(world: World) -> None:
    await world.known_order()
    world.spoil("error_500")
    world.spoil("decline")
    await capture(world.replica())
    assert await reconciled(world, ASK_AGAIN_AFTER) == 1
    assert (await world.order()).captures[0].status is FAILED
    assert await world.order_log() == [*REQUESTED, "capture_failed"]
    assert world.effects() == []


async def test_while_one_is_pending_another_key_is_refused(world: World) -> None:
    await world.known_order()
    world.spoil("drop_after")
    await capture(world.replica())
    other = await world.replica().operate.capture("ord-1", "other", USD_50, ANN)
    assert other == rejections.CaptureInProgress()
    assert await reconciled(world, ASK_AGAIN_AFTER) == 1
    other = await world.replica().operate.capture("ord-1", "other", USD_50, ANN)
    assert other == rejections.AlreadyCaptured()
    assert len(world.effects()) == 1


async def test_what_comes_to_the_order_meanwhile_does_not_change_the_question(
    world: World,
) -> None:
    await world.known_order()
    world.spoil("drop_before")
    await capture(world.replica())
    await world.replica().operate.set_hold("ord-1", HoldReason.RISK, ANN)
    await world.receive(order_webhook("ord-1", "success", 5, meta={"amount": 1, "currency": "EUR"}))
    assert await reconciled(world, ASK_AGAIN_AFTER) == 1
    [effect] = world.effects()
    assert "5000" in effect["parameters"]
    assert "USD" in effect["parameters"]
    assert (await world.order()).captures[0].status is SUCCESS


async def test_the_waits_double_up_to_five_minutes_and_long_open_ones_raise_an_alarm(
    world: World,
) -> None:
    await world.known_order()
    world.spoil("error_500", times=None)
    requested_at = (await capture(world.replica())).capture.requested_at
    reconcile = world.replica().reconcile
    alarms = []
    for seconds in (10, 20, 40, 80, 160, 300, 300):
        assert await reconciled(world, timedelta(seconds=seconds - 1)) == 0, seconds
        with structlog.testing.capture_logs() as logged:
            found = await reconcile.open()
        late = world.clock.now() - requested_at > OVERDUE_AFTER
        assert (found.count, found.oldest_requested_at, found.overdue) == (1, requested_at, late)
        alarms.append([line["event"] for line in logged])
        assert await reconciled(world, timedelta(seconds=1)) == 1, seconds
    assert alarms == [*[[]] * 6, ["provider_answers_overdue"]]
    world.provider.app.faults.clear()
    assert await reconciled(world, ASK_AGAIN_MAX) == 1
    assert await reconcile.open() == OpenIntents(0, None, 0)
    assert len(world.effects()) == 1


async def test_a_round_asks_only_so_many_and_the_next_one_the_rest(world: World) -> None:
    world.spoil("error_500", times=CLAIM_MAX + 2)
    for n in range(CLAIM_MAX + 2):
        await world.known_order(f"ord-{n}")
        await capture(world.replica(), f"ord-{n}")
    assert await reconciled(world, ASK_AGAIN_AFTER) == CLAIM_MAX
    assert await reconciled(world, timedelta()) == 2
    assert await reconciled(world, timedelta()) == 0
    assert all(len(world.effects(f"ord-{n}")) == 1 for n in range(CLAIM_MAX + 2))


# ── A replica dies ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("moment", ["before the call", "after the call", "while recording"])
async def test_killed_between_intent_and_outcome_another_replica_finds_the_outcome(
    world: World, moment: str
) -> None:
    await world.known_order()
    match moment:
        case "before the call":
            doomed = world.replica(gateway=InterruptedGateway(world.silvergate, before=killed))
        case "after the call":
            doomed = world.replica(gateway=InterruptedGateway(world.silvergate, after=killed))
        case _:
            doomed = world.replica(database=InterruptedDatabase(world.database, {3: Killed()}))
    with pytest.raises(Killed):
        await capture(doomed)
    assert await world.order_log() == REQUESTED
    assert (await capture(world.replica())).capture.status is PENDING

    assert await reconciled(world, LEASE - timedelta(seconds=1)) == 0  # it might be alive
    assert await reconciled(world, timedelta(seconds=1)) == 1
    assert len(world.effects()) == 1
    assert await world.order_log() == COMPLETED
    assert (await capture(world.replica())).capture.status is SUCCESS


async def test_killed_before_the_intent_nothing_happened_and_the_key_is_free(world: World) -> None:
    await world.known_order()
    doomed = world.replica(database=InterruptedDatabase(world.database, {1: Killed()}))
    with pytest.raises(Killed):
        await capture(doomed)
    assert await reconciled(world, timedelta(days=1)) == 0
    assert (await capture(world.replica(), money=Money(1, "USD"))).capture.status is SUCCESS


async def test_a_reconciler_that_is_killed_leaves_the_question_to_the_next(world: World) -> None:
    await world.known_order()
    world.spoil("drop_before")
    await capture(world.replica())
    doomed = world.replica(gateway=InterruptedGateway(world.silvergate, after=killed))
    world.clock.advance(seconds=ASK_AGAIN_AFTER.total_seconds())
    with pytest.raises(Killed):
        await doomed.reconcile.run_once()
    assert await reconciled(world, timedelta(seconds=1)) == 0
    assert await reconciled(world, LEASE) == 1
    assert len(world.effects()) == 1
    assert await world.order_log() == COMPLETED


async def test_two_reconcilers_at_once_ask_once(world: World) -> None:
    await world.known_order()
    world.spoil("drop_before")
    await capture(world.replica())
    world.clock.advance(seconds=ASK_AGAIN_AFTER.total_seconds())
    asked = await asyncio.gather(*(world.replica().reconcile.run_once() for _ in range(4)))
    assert sorted(asked) == [0, 0, 0, 1]
    assert len(world.calls()) == 2
    assert await world.order_log() == COMPLETED


async def test_a_slow_replica_and_a_reconciler_that_both_ask_record_one_outcome(
    world: World,
) -> None:
    await world.known_order()

    async def another_asks_meanwhile() -> None:
        assert await reconciled(world, LEASE) == 1

    slow = InterruptedGateway(world.silvergate, after=another_asks_meanwhile)
    answer = await capture(world.replica(gateway=slow))
    assert answer.capture.status is SUCCESS
    assert len(world.calls()) == 2
    assert len(world.effects()) == 1
    assert await world.order_log() == COMPLETED


# ── The database goes away ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("error", [Unavailable("away"), WriteRefused("no")])
async def test_an_outcome_that_could_not_be_recorded_is_pending_and_settled_later(
    world: World, error: Exception, committed: bool
) -> None:
    await world.known_order()
    database = InterruptedDatabase(world.database, {3: error}, committed)
    answer = await capture(
        world.replica(database=database, read_model=LostReadModel(world.pool, 0))
    )
    assert answer.capture.status is PENDING
    assert await reconciled(world, LEASE) == (0 if committed else 1)
    assert len(world.effects()) == 1
    assert await world.order_log() == COMPLETED
    assert (await capture(world.replica())).capture.status is SUCCESS


async def test_an_intent_whose_commit_nobody_heard_of_is_asked_by_the_reconciler(
    world: World,
) -> None:
    await world.known_order()
    database = InterruptedDatabase(world.database, {1: Unavailable("lost")}, committed=True)
    answer = await capture(world.replica(database=database))
    assert answer.capture.status is PENDING
    assert world.calls() == []
    assert await reconciled(world, LEASE) == 1
    assert len(world.effects()) == 1
    assert await world.order_log() == COMPLETED


async def test_an_intent_that_could_not_be_written_asks_nobody(world: World) -> None:
    await world.known_order()
    away: dict[int, Exception] = {n: Unavailable("away") for n in range(1, 1000)}
    with pytest.raises(Unavailable):
        await capture(world.replica(database=InterruptedDatabase(world.database, away)))
    assert world.calls() == []
    assert await world.order_log() == ["webhook_received"]


async def test_a_reconciler_without_a_database_for_some_goes_on_with_the_others(
    world: World,
) -> None:
    world.spoil("drop_before", times=2)
    for order_id in ("ord-1", "ord-2"):
        await world.known_order(order_id)
        await capture(world.replica(), order_id)
    world.clock.advance(seconds=ASK_AGAIN_AFTER.total_seconds())
    database = InterruptedDatabase(world.database, {1: Unavailable("away")})
    assert await world.replica(database=database).reconcile.run_once() == 2
    settled = [len(world.effects(order_id)) for order_id in ("ord-1", "ord-2")]
    assert sorted(settled) == [0, 1]
    assert await reconciled(world, LEASE) == 1
    assert [len(world.effects(order_id)) for order_id in ("ord-1", "ord-2")] == [1, 1]


# ── What the database itself refuses ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("standing", [PENDING, SUCCESS])
@pytest.mark.parametrize("second", [PENDING, SUCCESS])
async def test_the_database_refuses_a_second_capture_even_if_the_code_tried(
    world: World, standing: AttemptStatus, second: AttemptStatus
) -> None:
    await world.known_order()
    if standing is PENDING:
        world.spoil("drop_before")
    first = await capture(world.replica())
    assert first.capture.status is standing
    now = world.clock.now()
    forged = Capture("other", USD_50, second, now)
    if second is SUCCESS:
        forged = replace(forged, provider_tx_id="txn-2", captured_at=now)

    async def forge() -> None:
        async with world.database.transaction() as transaction:
            stream = (await transaction.load(["ord-1"])).orders["ord-1"]
            state = replace(stream.state, captures=(*stream.state.captures, forged))
            attempt = Attempt(Space.ORDER, "ord-1", "other", "c-1", now)
            await transaction.save(
                Changes(orders={"ord-1": replace(stream, state=state)}, requested=[attempt])
            )

    with pytest.raises(WriteRefused):
        await forge()
    assert (await world.order()).captures == (first.capture,)


async def test_the_database_refuses_a_success_without_the_providers_reference(
    world: World,
) -> None:
    await world.known_order()
    world.spoil("drop_before")
    await capture(world.replica())
    async with world.pool.connection() as connection:
        with pytest.raises(psycopg.errors.CheckViolation):
            await connection.execute("UPDATE provider_intents SET status = 'success'")
