"""Holds: what an operator is told, and that repeating one is no news."""

import pytest

from payment_manager.domain import rejections
from payment_manager.domain.order import HoldReason, Order
from tests.application.world import ANN, World
from tests.clock import TODAY_AT_NOON
from tests.webhooks import order_webhook

pytestmark = pytest.mark.asyncio(loop_scope="module")

RISK, REVIEW = HoldReason.RISK, HoldReason.MANUAL_REVIEW


async def test_setting_a_hold_gives_its_time_and_writes_one_event(world: World) -> None:
    order_id = await world.known_order()
    at = world.clock.advance(minutes=1)
    held = await world.replica().operate.set_hold(order_id, RISK, ANN)
    assert isinstance(held, Order)
    assert (held.on_hold, held.hold_reason, held.hold_changed_at) == (True, RISK, at)
    assert await world.order() == held
    assert await world.order_log() == ["webhook_received", "hold_set"]


async def test_a_repeated_hold_writes_nothing_and_answers_with_the_first_time(world: World) -> None:
    order_id = await world.known_order()
    first = await world.replica().operate.set_hold(order_id, RISK, ANN)
    world.clock.advance(minutes=1)
    assert await world.replica().operate.set_hold(order_id, RISK, ANN) == first
    assert await world.order_log() == ["webhook_received", "hold_set"]


async def test_another_reason_is_a_change_with_its_own_time(world: World) -> None:
    order_id = await world.known_order()
    operate = world.replica().operate
    await operate.set_hold(order_id, RISK, ANN)
    at = world.clock.advance(minutes=1)
    changed = await operate.set_hold(order_id, REVIEW, ANN)
    assert isinstance(changed, Order)
    assert (changed.hold_reason, changed.hold_changed_at) == (REVIEW, at)
    assert await world.order_log() == ["webhook_received", "hold_set", "hold_set"]


async def test_clearing_a_hold_gives_its_time_and_repeating_it_the_same(world: World) -> None:
    order_id = await world.known_order()
    operate = world.replica().operate
    await operate.set_hold(order_id, RISK, ANN)
    at = world.clock.advance(minutes=1)
    cleared = await operate.clear_hold(order_id, ANN)
    assert isinstance(cleared, Order)
    assert (cleared.on_hold, cleared.hold_changed_at) == (False, at)
    world.clock.advance(minutes=1)
    assert await operate.clear_hold(order_id, ANN) == cleared
    assert await world.order_log() == ["webhook_received", "hold_set", "hold_cleared"]


async def test_clearing_what_was_never_held_has_no_time_and_no_event(world: World) -> None:
    order_id = await world.known_order()
    cleared = await world.replica().operate.clear_hold(order_id, ANN)
    assert isinstance(cleared, Order)
    assert (cleared.on_hold, cleared.hold_changed_at) == (False, None)
    assert await world.order_log() == ["webhook_received"]


async def test_a_hold_moves_none_of_the_providers_times(world: World) -> None:
    order_id = await world.known_order()
    before = await world.order()
    held = await world.replica().operate.set_hold(order_id, RISK, ANN)
    assert isinstance(held, Order)
    assert (held.created_at, held.updated_at) == (before.created_at, before.updated_at)


async def test_a_final_order_is_not_held_any_more_but_a_hold_on_it_can_be_cleared(
    world: World,
) -> None:
    order_id = await world.known_order()
    operate = world.replica().operate
    await operate.set_hold(order_id, RISK, ANN)
    await world.receive(order_webhook(order_id, "success", 5))
    assert await operate.set_hold(order_id, REVIEW, ANN) == rejections.OrderFinal("success")
    cleared = await operate.clear_hold(order_id, ANN)
    assert isinstance(cleared, Order)
    assert not cleared.on_hold
    assert await operate.set_hold(order_id, RISK, ANN) == rejections.OrderFinal("success")


async def test_an_unknown_order_can_be_neither_held_nor_cleared(world: World) -> None:
    operate = world.replica().operate
    assert await operate.set_hold("nobody", RISK, ANN) == rejections.OrderUnknown()
    assert await operate.clear_hold("nobody", ANN) == rejections.OrderUnknown()


async def test_events_stay_in_order_when_the_clock_goes_back(world: World) -> None:
    order_id = await world.known_order()
    operate = world.replica().operate
    for hour in range(3):
        world.clock.set(TODAY_AT_NOON)
        world.clock.advance(hours=-hour)
        await operate.set_hold(order_id, RISK, ANN)
        await operate.clear_hold(order_id, ANN)
    assert await world.order_log() == ["webhook_received", *["hold_set", "hold_cleared"] * 3]
