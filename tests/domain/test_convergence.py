"""Whatever the order of arrival, the same state.

How to think about it: two arrivals of one history are compared whole, provenance included, since
what a field belongs to decides what may replace it later. And against an oracle that sees the whole
history at once and knows nothing of arrival: each field is that of the highest webhook with it.
"""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from payment_manager.domain import dispute as disputes
from payment_manager.domain import order as orders
from payment_manager.domain.dispute import (
    ChargebackNotice,
    Dispute,
    DisputeStatus,
    NoticeStatus,
)
from payment_manager.domain.order import Order, OrderSnapshot
from tests.domain.histories import (
    CONTRADICTING_DISPUTE_HISTORIES,
    CONTRADICTING_ORDER_HISTORIES,
    DISPUTE_HISTORIES,
    DISPUTE_WORK,
    ORDER_HISTORIES,
    ORDER_WORK,
    UNDECIDED_DISPUTE,
    UNDECIDED_ORDER,
    arrivals,
    dispute_after,
    history_of,
    interleavings,
    notices,
    order_after,
    snapshots,
)
from tests.domain.scenario import take, take_notice

# Values are few, so this many arrivals find a wrong comparison, in half a second a test.
often = settings(max_examples=100, deadline=None)


def takes(history: Sequence[OrderSnapshot]) -> list[orders.Command]:
    return [take(seen) for seen in history]


def notice_takes(history: Sequence[ChargebackNotice]) -> list[disputes.Command]:
    return [take_notice(said) for said in history]


def order_seen_at_once(history: Sequence[OrderSnapshot]) -> Order:
    highest = max(history, key=lambda seen: seen.precedence)
    priced = [seen for seen in history if seen.amount]
    price = max(priced, key=lambda seen: seen.precedence) if priced else None
    return Order(
        order_id=highest.order_id,
        user_id=highest.user_id,
        status=highest.status,
        created_at=highest.created_at,
        updated_at=highest.updated_at,
        amount=price.amount if price else None,
        latest=highest.precedence,
        amount_from=price.precedence if price else None,
    )


def dispute_seen_at_once(history: Sequence[ChargebackNotice]) -> Dispute:
    def highest(of: list[ChargebackNotice]) -> ChargebackNotice | None:
        return max(of, key=lambda said: said.precedence, default=None)

    last = highest(list(history))
    opening = highest([said for said in history if said.status is NoticeStatus.OPENED])
    closing = highest([said for said in history if said.status is NoticeStatus.CLOSED])
    dated = highest([said for said in history if said.evidence_due_at])
    assert last is not None
    return Dispute(
        order_id=last.order_id,
        reason=last.reason,
        amount=last.amount,
        decision=closing.decision if closing else None,
        opened_at=opening.occurred_at if opening else None,
        evidence_due_at=dated.evidence_due_at if dated else None,
        closed_at=closing.occurred_at if closing else None,
        latest=last.precedence,
        opened_from=opening.precedence if opening else None,
        due_from=dated.precedence if dated else None,
    )


def providers_part_of_order(order: Order | None) -> Order | None:
    return order and replace(order, hold_reason=None, hold_changed_at=None, captures=())


def operators_part_of_order(order: Order | None) -> object:
    return order and (order.hold_reason, order.hold_changed_at, order.captures)


def providers_part_of_dispute(dispute: Dispute | None) -> Dispute | None:
    return dispute and replace(dispute, progress=DisputeStatus.OPEN, evidence=None, submissions=())


def operators_part_of_dispute(dispute: Dispute | None) -> object:
    return dispute and (dispute.progress, dispute.evidence, dispute.submissions)


@often
@given(st.data(), ORDER_HISTORIES)
def test_an_order_is_its_history_whatever_the_arrival(
    data: st.DataObject, history: list[OrderSnapshot]
) -> None:
    arrival = data.draw(arrivals(history))
    assert order_after(takes(arrival)) == order_seen_at_once(history)


@often
@given(st.data(), DISPUTE_HISTORIES)
def test_a_dispute_is_its_history_whatever_the_arrival(
    data: st.DataObject, history: list[ChargebackNotice]
) -> None:
    arrival = data.draw(arrivals(history))
    assert dispute_after(notice_takes(arrival)) == dispute_seen_at_once(history)


@often
@given(st.data(), ORDER_HISTORIES, st.integers(0, 8), ORDER_WORK, ORDER_WORK)
def test_work_on_an_order_comes_to_the_same_whatever_the_arrival_before_and_after_it(
    data: st.DataObject,
    history: list[OrderSnapshot],
    cut: int,
    work: list[orders.Command],
    last_work: list[orders.Command],
) -> None:
    before, after = history[:cut], history[cut:]

    def life() -> Order | None:
        first, second = data.draw(arrivals(before)), data.draw(arrivals(after, again=before))
        return order_after([*takes(first), *work, *takes(second), *last_work])

    assert life() == life()


@often
@given(st.data(), DISPUTE_HISTORIES, st.integers(0, 8), DISPUTE_WORK, DISPUTE_WORK)
def test_work_on_a_dispute_comes_to_the_same_whatever_the_arrival_before_and_after_it(
    data: st.DataObject,
    history: list[ChargebackNotice],
    cut: int,
    work: list[disputes.Command],
    last_work: list[disputes.Command],
) -> None:
    before, after = history[:cut], history[cut:]

    def life() -> Dispute | None:
        first, second = data.draw(arrivals(before)), data.draw(arrivals(after, again=before))
        return dispute_after([*notice_takes(first), *work, *notice_takes(second), *last_work])

    assert life() == life()


@often
@given(st.data(), ORDER_HISTORIES, ORDER_WORK)
def test_an_operator_never_touches_what_the_provider_said_of_an_order(
    data: st.DataObject, history: list[OrderSnapshot], work: list[orders.Command]
) -> None:
    life = data.draw(interleavings(takes(history), work))
    assert providers_part_of_order(order_after(life)) == order_seen_at_once(history)


@often
@given(st.data(), DISPUTE_HISTORIES, DISPUTE_WORK)
def test_an_operator_never_touches_what_the_provider_said_of_a_dispute(
    data: st.DataObject, history: list[ChargebackNotice], work: list[disputes.Command]
) -> None:
    life = data.draw(interleavings(notice_takes(history), work))
    assert providers_part_of_dispute(dispute_after(life)) == dispute_seen_at_once(history)


@often
@given(st.data(), history_of(snapshots(UNDECIDED_ORDER, st.none())), ORDER_WORK)
def test_until_a_decision_the_provider_never_touches_holds_and_captures(
    data: st.DataObject, history: list[OrderSnapshot], work: list[orders.Command]
) -> None:
    # Without amounts, since how much may be captured depends on the order's.
    first, *rest = takes(history)
    life = data.draw(interleavings(rest, work))
    assert operators_part_of_order(order_after([first, *life])) == operators_part_of_order(
        order_after([first, *work])
    )


@often
@given(st.data(), history_of(notices(UNDECIDED_DISPUTE)), DISPUTE_WORK)
def test_until_a_decision_the_provider_never_touches_evidence_and_submissions(
    data: st.DataObject, history: list[ChargebackNotice], work: list[disputes.Command]
) -> None:
    first, *rest = notice_takes(history)
    life = data.draw(interleavings(rest, work))
    assert operators_part_of_dispute(dispute_after([first, *life])) == operators_part_of_dispute(
        dispute_after([first, *work])
    )


@often
@given(CONTRADICTING_ORDER_HISTORIES)
def test_an_order_stands_as_if_contradicting_webhooks_had_never_come(
    arrival: list[OrderSnapshot],
) -> None:
    first = next((seen.status for seen in arrival if seen.status.is_final), None)
    believed = [seen for seen in arrival if not seen.status.is_final or seen.status is first]
    assert order_after(takes(arrival)) == order_seen_at_once(believed)


@often
@given(CONTRADICTING_DISPUTE_HISTORIES)
def test_a_dispute_stands_as_if_contradicting_notices_had_never_come(
    arrival: list[ChargebackNotice],
) -> None:
    plain = (None, DisputeStatus.CLOSED)
    first = next((said.decision for said in arrival if said.decision not in plain), None)
    believed = [said for said in arrival if said.decision in (*plain, first)]
    assert dispute_after(notice_takes(arrival)) == dispute_seen_at_once(believed)
