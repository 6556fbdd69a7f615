"""Orders, one line a case: what a webhook comes to, and what an operator may do when."""

import pytest

from payment_manager.domain import rejections
from payment_manager.domain.gateway import Done, Refused
from payment_manager.domain.money import Money
from payment_manager.domain.order import (
    AttemptStatus,
    CaptureCompleted,
    CaptureFailed,
    CaptureRequested,
    ClearHold,
    Command,
    Event,
    HoldCleared,
    HoldReason,
    HoldSet,
    Order,
    OrderStatus,
    RecordCaptureAnswer,
    RequestCapture,
    SetHold,
    decide,
    evolve,
)
from tests.domain.scenario import (
    ANN,
    BOB,
    NOW,
    Scenario,
    applied,
    at,
    rejected,
    snapshot,
    stale,
    take,
    usd,
)

OrderScenario = Scenario[Command, Order, Event]


def given(*events: Event) -> OrderScenario:
    return Scenario(decide, evolve, events)


RISK, REVIEW = HoldReason.RISK, HoldReason.MANUAL_REVIEW
SUCCESS, FAILED = OrderStatus.SUCCESS, OrderStatus.FAILED

# The number is the minute of `updated_at`.
CREATED_1 = snapshot("created", 1)
UPDATED_5, UPDATED_9 = snapshot("updated", 5), snapshot("updated", 9)
SUCCESS_3, SUCCESS_7 = snapshot("success", 3), snapshot("success", 7)
FAILED_3, FAILED_7 = snapshot("failed", 3), snapshot("failed", 7)
FOR_10_AT_1, FOR_20_AT_2 = snapshot("created", 1, usd(10)), snapshot("updated", 2, usd(20))
FOR_10_AT_3, FOR_10_AT_6 = snapshot("updated", 3, usd(10)), snapshot("updated", 6, usd(10))
SUCCESS_3_FOR_20 = snapshot("success", 3, usd(20))
# Their ids stand the other way round than their ranks.
CREATED_5, UPDATED_5_A = snapshot("created", 5, id="z"), snapshot("updated", 5, id="a")
A_AT_5, B_AT_5 = snapshot("updated", 5, id="a"), snapshot("updated", 5, id="b")
BOBS_9 = snapshot("updated", 9, user=BOB)
BOBS_SUCCESS = snapshot("success", 2, user=BOB)
FAILED_WITH_ALL = snapshot("failed", 99, usd(5), user=BOB)

WEBHOOKS: dict[str, OrderScenario] = {
    # Any of them may be the first.
    "created first": given().when(take(CREATED_1)).then(applied(CREATED_1)),
    "updated first": given().when(take(UPDATED_5)).then(applied(UPDATED_5)),
    "success first": given().when(take(SUCCESS_3)).then(applied(SUCCESS_3)).leaving(status=SUCCESS),
    "failed first": given().when(take(FAILED_3)).then(applied(FAILED_3)).leaving(status=FAILED),
    "the first gives every field": given()
    .when(take(FOR_10_AT_1))
    .then(applied(FOR_10_AT_1))
    .leaving(
        order_id="o",
        user_id=ANN,
        status=OrderStatus.CREATED,
        amount=usd(10),
        created_at=at(0),
        updated_at=at(1),
        on_hold=False,
        hold_reason=None,
        hold_changed_at=None,
        capture=None,
    ),
    # Each step may be skipped; what is higher is applied, by level, then time, then rank, then id.
    "updated after created": given(applied(CREATED_1))
    .when(take(UPDATED_5))
    .then(applied(UPDATED_5))
    .leaving(status=OrderStatus.UPDATED, created_at=at(4), updated_at=at(5)),
    "updated again": given(applied(UPDATED_5)).when(take(UPDATED_9)).then(applied(UPDATED_9)),
    "success after created": given(applied(CREATED_1))
    .when(take(SUCCESS_3))
    .then(applied(SUCCESS_3)),
    "failed after updated": given(applied(UPDATED_5)).when(take(FAILED_7)).then(applied(FAILED_7)),
    "a final status is higher whatever the times": given(applied(UPDATED_9))
    .when(take(SUCCESS_3))
    .then(applied(SUCCESS_3))
    .leaving(status=SUCCESS, created_at=at(2), updated_at=at(3)),
    "at equal times updated is higher than created": given(applied(CREATED_5))
    .when(take(UPDATED_5_A))
    .then(applied(UPDATED_5_A)),
    "at equal times created is lower than updated": given(applied(UPDATED_5_A))
    .when(take(CREATED_5))
    .then(stale(CREATED_5))
    .leaving(status=OrderStatus.UPDATED),
    "at equal ranks the higher id": given(applied(A_AT_5)).when(take(B_AT_5)).then(applied(B_AT_5)),
    "at equal ranks the lower id": given(applied(B_AT_5)).when(take(A_AT_5)).then(stale(A_AT_5)),
    # What changes nothing is stale.
    "the same again": given(applied(CREATED_1)).when(take(CREATED_1)).then(stale(CREATED_1)),
    "created after updated": given(applied(UPDATED_5)).when(take(CREATED_1)).then(stale(CREATED_1)),
    "an earlier updated": given(applied(UPDATED_9)).when(take(UPDATED_5)).then(stale(UPDATED_5)),
    "updated after success moves nothing, even with a later time": given(applied(SUCCESS_3))
    .when(take(BOBS_9))
    .then(stale(BOBS_9))
    .leaving(status=SUCCESS, user_id=ANN, created_at=at(2), updated_at=at(3)),
    "an earlier success": given(applied(SUCCESS_7)).when(take(SUCCESS_3)).then(stale(SUCCESS_3)),
    "a later success": given(applied(SUCCESS_3))
    .when(take(SUCCESS_7))
    .then(applied(SUCCESS_7))
    .leaving(status=SUCCESS, updated_at=at(7)),
    # Every field belongs to the highest webhook that carries it.
    "the user is the highest one's": given(applied(UPDATED_5))
    .when(take(BOBS_9))
    .then(applied(BOBS_9))
    .leaving(user_id=BOB),
    "the user moves with the level too": given(applied(UPDATED_5))
    .when(take(BOBS_SUCCESS))
    .then(applied(BOBS_SUCCESS))
    .leaving(user_id=BOB, updated_at=at(2)),
    "an amount stays when a higher one carries none": given(applied(FOR_10_AT_1))
    .when(take(UPDATED_5))
    .then(applied(UPDATED_5))
    .leaving(status=OrderStatus.UPDATED, amount=usd(10)),
    "a higher amount replaces a lower one": given(applied(FOR_10_AT_1))
    .when(take(FOR_20_AT_2))
    .then(applied(FOR_20_AT_2))
    .leaving(amount=usd(20)),
    "a late one fills in the missing amount and nothing else": given(applied(UPDATED_9))
    .when(take(FOR_10_AT_1))
    .then(applied(FOR_10_AT_1))
    .leaving(amount=usd(10), status=OrderStatus.UPDATED, created_at=at(8), updated_at=at(9)),
    "a late one fills in the missing amount of a final order": given(applied(SUCCESS_3))
    .when(take(FOR_10_AT_1))
    .then(applied(FOR_10_AT_1))
    .leaving(amount=usd(10), status=SUCCESS, updated_at=at(3)),
    "a late amount above the one that stands": given(applied(FOR_10_AT_1), applied(UPDATED_9))
    .when(take(FOR_20_AT_2))
    .then(applied(FOR_20_AT_2))
    .leaving(amount=usd(20), updated_at=at(9)),
    "a late amount below the one that stands": given(applied(FOR_20_AT_2), applied(UPDATED_9))
    .when(take(FOR_10_AT_1))
    .then(stale(FOR_10_AT_1))
    .leaving(amount=usd(20)),
    "the same amount, late, is stale": given(applied(FOR_10_AT_1), applied(UPDATED_9))
    .when(take(FOR_10_AT_6))
    .then(stale(FOR_10_AT_6))
    .leaving(amount=usd(10), amount_from=FOR_10_AT_6.precedence),
    "and still owns the amount from then on": given(
        applied(FOR_10_AT_1), applied(UPDATED_9), stale(FOR_10_AT_3)
    )
    .when(take(FOR_20_AT_2))
    .then(stale(FOR_20_AT_2))
    .leaving(amount=usd(10)),
    # The first decision stays.
    "success over failed": given(applied(FAILED_3))
    .when(take(SUCCESS_7))
    .then(rejected(SUCCESS_7))
    .leaving(status=FAILED, updated_at=at(3)),
    "failed over success": given(applied(SUCCESS_3)).when(take(FAILED_7)).then(rejected(FAILED_7)),
    "an earlier failed over success": given(applied(SUCCESS_7))
    .when(take(FAILED_3))
    .then(rejected(FAILED_3))
    .leaving(status=SUCCESS, updated_at=at(7)),
    "the rejected one again": given(applied(SUCCESS_3), rejected(FAILED_7))
    .when(take(FAILED_7))
    .then(rejected(FAILED_7)),
    "a rejected one fills in nothing": given(applied(SUCCESS_3))
    .when(take(FAILED_WITH_ALL))
    .then(rejected(FAILED_WITH_ALL))
    .leaving(amount=None, amount_from=None, user_id=ANN, latest=SUCCESS_3.precedence),
    "after a rejected one all goes on as before": given(
        applied(SUCCESS_3), rejected(FAILED_WITH_ALL)
    )
    .when(take(FOR_10_AT_1))
    .then(applied(FOR_10_AT_1))
    .leaving(status=SUCCESS, amount=usd(10)),
}


def set_hold(reason: HoldReason) -> SetHold:
    return SetHold(reason, "ann", NOW)


def held(reason: HoldReason, minute: int = 1000) -> HoldSet:
    return HoldSet(reason, "ann", at(minute))


def cleared(minute: int = 1000) -> HoldCleared:
    return HoldCleared("ann", at(minute))


CLEAR = ClearHold("ann", NOW)
OPEN, FINAL = applied(CREATED_1), applied(SUCCESS_7)

HOLDS: dict[str, OrderScenario] = {
    "set": given(OPEN)
    .when(set_hold(RISK))
    .then(held(RISK))
    .leaving(on_hold=True, hold_reason=RISK, hold_changed_at=NOW, updated_at=at(1)),
    "set again is no news": given(OPEN, held(RISK, 20))
    .when(set_hold(RISK))
    .then()
    .leaving(on_hold=True, hold_changed_at=at(20)),
    "another reason is a change": given(OPEN, held(RISK, 20))
    .when(set_hold(REVIEW))
    .then(held(REVIEW))
    .leaving(hold_reason=REVIEW, hold_changed_at=NOW),
    "clear": given(OPEN, held(RISK, 20))
    .when(CLEAR)
    .then(cleared())
    .leaving(on_hold=False, hold_reason=None, hold_changed_at=NOW, updated_at=at(1)),
    "clear again is no news": given(OPEN, held(RISK, 20), cleared(21))
    .when(CLEAR)
    .then()
    .leaving(on_hold=False, hold_changed_at=at(21)),
    "clear what was never held": given(OPEN).when(CLEAR).then().leaving(hold_changed_at=None),
    "set after clear": given(OPEN, held(RISK, 20), cleared(21))
    .when(set_hold(RISK))
    .then(held(RISK)),
    "not on success": given(FINAL).when(set_hold(RISK)).refused(rejections.OrderFinal(SUCCESS)),
    "not on failed": given(applied(FAILED_3))
    .when(set_hold(RISK))
    .refused(rejections.OrderFinal(FAILED)),
    "no other reason once final": given(OPEN, held(RISK), FINAL)
    .when(set_hold(REVIEW))
    .refused(rejections.OrderFinal(SUCCESS)),
    "a repeat is none even once final": given(OPEN, held(RISK), FINAL).when(set_hold(RISK)).then(),
    "clear is possible once final": given(OPEN, held(RISK), FINAL).when(CLEAR).then(cleared()),
    "clear is possible on a final order that was never held": given(FINAL).when(CLEAR).then(),
    "a webhook doesn't touch it": given(OPEN, held(RISK, 20))
    .when(take(SUCCESS_7))
    .then(applied(SUCCESS_7))
    .leaving(on_hold=True, hold_reason=RISK, hold_changed_at=at(20)),
    "set on no order": given().when(set_hold(RISK)).refused(rejections.OrderUnknown()),
    "clear on no order": given().when(CLEAR).refused(rejections.OrderUnknown()),
}


TEN = usd(10)


def capture(key: str, money: Money) -> RequestCapture:
    return RequestCapture(key, money, "ann", NOW)


def requested(key: str, money: Money = TEN) -> CaptureRequested:
    return CaptureRequested(key, money, "ann", NOW)


def answer(key: str, what: Done | Refused) -> RecordCaptureAnswer:
    return RecordCaptureAnswer(key, what, at(2000))


def completed(key: str) -> CaptureCompleted:
    return CaptureCompleted(key, "txn-1", at(2000))


def failed(key: str, tx: str | None = None) -> CaptureFailed:
    return CaptureFailed(key, tx, "no funds", at(2000))


DONE, REFUSED = Done("txn-1"), Refused("no funds")
FOR_10 = applied(FOR_10_AT_1)
PENDING, WON, LOST = AttemptStatus.PENDING, AttemptStatus.SUCCESS, AttemptStatus.FAILED
K_10, K_11, J_10 = capture("k", usd(10)), capture("k", usd(11)), capture("j", usd(10))
ON_HOLD, IN_PROGRESS = rejections.OrderOnHold(), rejections.CaptureInProgress()
REUSED, CAPTURED = rejections.KeyReused(), rejections.AlreadyCaptured()

CAPTURES: dict[str, OrderScenario] = {
    "the order's amount": given(FOR_10).when(K_10).then(requested("k")),
    "a part of it": given(FOR_10).when(capture("k", usd(9))).then(requested("k", usd(9))),
    "more than it": given(FOR_10).when(K_11).refused(rejections.AmountTooLarge()),
    "another currency": given(FOR_10)
    .when(capture("k", Money(1000, "EUR")))
    .refused(rejections.CurrencyDiffers("USD")),
    "any, of an order without an amount": given(OPEN).when(K_11).then(requested("k", usd(11))),
    "it touches nothing that the provider said": given(FOR_10)
    .when(K_10)
    .then(requested("k"))
    .leaving(status=OrderStatus.CREATED, updated_at=at(1)),
    "not on hold": given(FOR_10, held(RISK)).when(K_10).refused(ON_HOLD),
    "after the hold": given(FOR_10, held(RISK), cleared()).when(K_10).then(requested("k")),
    "not once final": given(FINAL).when(K_10).refused(rejections.OrderFinal(SUCCESS)),
    "not once failed": given(applied(FAILED_3)).when(K_10).refused(rejections.OrderFinal(FAILED)),
    "no order": given().when(K_10).refused(rejections.OrderUnknown()),
    # The same key is the same capture, whatever the state came to meanwhile.
    "repeat while pending": given(FOR_10, requested("k")).when(K_10).then(),
    "repeat of a success": given(FOR_10, requested("k"), completed("k")).when(K_10).then(),
    "repeat of a failure": given(FOR_10, requested("k"), failed("k")).when(K_10).then(),
    "repeat on hold": given(FOR_10, requested("k"), held(RISK)).when(K_10).then(),
    "repeat once final": given(FOR_10, requested("k"), FINAL).when(K_10).then(),
    "repeat with another amount": given(FOR_10, requested("k")).when(K_11).refused(REUSED),
    "repeat with another currency": given(FOR_10, requested("k"))
    .when(capture("k", Money(1000, "EUR")))
    .refused(REUSED),
    "other parameters after a failure": given(FOR_10, requested("k"), failed("k"))
    .when(K_11)
    .refused(REUSED),
    # One in flight, one success.
    "another key while pending": given(FOR_10, requested("k")).when(J_10).refused(IN_PROGRESS),
    "another key after a success": given(FOR_10, requested("k"), completed("k"))
    .when(J_10)
    .refused(CAPTURED),
    "another key after a failure": given(FOR_10, requested("k"), failed("k"))
    .when(J_10)
    .then(requested("j")),
    "an old key after another's success": given(
        FOR_10, requested("k"), failed("k"), requested("j"), completed("j")
    )
    .when(K_10)
    .then(),
    "a third key after the second's success": given(
        FOR_10, requested("k"), failed("k"), requested("j"), completed("j")
    )
    .when(capture("i", usd(10)))
    .refused(CAPTURED),
}

ANSWERS: dict[str, OrderScenario] = {
    "done": given(FOR_10, requested("k")).when(answer("k", DONE)).then(completed("k")),
    "refused": given(FOR_10, requested("k")).when(answer("k", REFUSED)).then(failed("k")),
    "refused with a transaction": given(FOR_10, requested("k"))
    .when(answer("k", Refused("no funds", "txn-2")))
    .then(failed("k", "txn-2")),
    "an answer keeps the order's own fields": given(FOR_10, requested("k"))
    .when(answer("k", DONE))
    .then(completed("k"))
    .leaving(status=OrderStatus.CREATED, updated_at=at(1), on_hold=False),
    "done after the order was held": given(FOR_10, requested("k"), held(RISK))
    .when(answer("k", DONE))
    .then(completed("k")),
    "done after the order was final": given(FOR_10, requested("k"), FINAL)
    .when(answer("k", DONE))
    .then(completed("k")),
    "done twice": given(FOR_10, requested("k"), completed("k")).when(answer("k", DONE)).then(),
    "refused after done": given(FOR_10, requested("k"), completed("k"))
    .when(answer("k", REFUSED))
    .then(),
    "done after refused": given(FOR_10, requested("k"), failed("k")).when(answer("k", DONE)).then(),
    "an answer that nobody waits for": given(FOR_10).when(answer("k", DONE)).then(),
    "an answer to another key": given(FOR_10, requested("k")).when(answer("j", DONE)).then(),
    "no order": given().when(answer("k", DONE)).refused(rejections.OrderUnknown()),
}


@pytest.mark.parametrize("scenario", WEBHOOKS.values(), ids=WEBHOOKS)
def test_a_webhook_is_applied_stale_or_rejected(scenario: OrderScenario) -> None:
    scenario.holds()


@pytest.mark.parametrize("scenario", HOLDS.values(), ids=HOLDS)
def test_a_hold_is_set_and_cleared(scenario: OrderScenario) -> None:
    scenario.holds()


@pytest.mark.parametrize("scenario", CAPTURES.values(), ids=CAPTURES)
def test_a_capture_is_requested_once_or_refused(scenario: OrderScenario) -> None:
    scenario.holds()


@pytest.mark.parametrize("scenario", ANSWERS.values(), ids=ANSWERS)
def test_an_answer_settles_the_capture_that_waits_for_it(scenario: OrderScenario) -> None:
    scenario.holds()


def test_a_capture_shows_how_far_it_has_come() -> None:
    order = evolve(evolve(None, FOR_10), requested("k"))
    assert order.capture is not None
    assert (order.capture.status, order.capture.money) == (PENDING, usd(10))
    settled = evolve(order, completed("k")).capture
    assert settled is not None
    assert (settled.status, settled.provider_tx_id, settled.captured_at) == (WON, "txn-1", at(2000))
    refused = evolve(order, failed("k", "txn-2")).capture
    assert refused is not None
    assert (refused.status, refused.provider_tx_id, refused.captured_at, refused.error) == (
        LOST,
        "txn-2",
        None,
        "no funds",
    )


def test_an_answer_settles_only_its_own_key() -> None:
    log: list[Event] = [FOR_10, requested("k"), failed("k"), requested("j"), completed("j")]
    order = None
    for event in log:
        order = evolve(order, event)
    assert order is not None
    assert [(each.key, each.status) for each in order.captures] == [("k", LOST), ("j", WON)]
    assert order.capture == order.capture_with("j")
    assert order.capture_with("i") is None


@pytest.mark.parametrize("event", [held(RISK), cleared(), requested("k"), rejected(SUCCESS_3)])
def test_a_log_that_begins_with_anything_else_is_damaged(event: Event) -> None:
    with pytest.raises(ValueError, match="can't begin with"):
        evolve(None, event)
