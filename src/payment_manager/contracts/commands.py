"""From the wire to the domain: what a webhook means to a state machine.

How to think about it: whatever is wrong is found by the reading of the wire, nothing is checked
here. The step is a module of its
own because the Ingest service shares the wire but must not reach the state machines.
"""

from payment_manager.contracts.envelope import Kind
from payment_manager.contracts.webhooks import (
    ChargebackWebhook,
    OrderWebhook,
    Received,
    read_chargeback_webhook,
    read_order_webhook,
)
from payment_manager.domain.dispute import ChargebackNotice, DisputeStatus, NoticeStatus
from payment_manager.domain.order import OrderSnapshot, OrderStatus

_ORDER_STATUS = {status.value: status for status in OrderStatus}
_NOTICE_STATUS = {status.value: status for status in NoticeStatus}


def read_notice(kind: Kind, body: bytes) -> tuple[OrderSnapshot | ChargebackNotice, bytes]:
    """What a webhook's body says, and its content's hash. Raises `InvalidInput`."""
    if kind is Kind.ORDER:
        order = read_order_webhook(body)
        return order_snapshot(order), order.content_hash
    chargeback = read_chargeback_webhook(body)
    return chargeback_notice(chargeback), chargeback.content_hash


def order_snapshot(received: Received[OrderWebhook]) -> OrderSnapshot:
    wire = received.wire
    return OrderSnapshot(
        provider_event_id=wire.provider_event_id,
        order_id=wire.order_id,
        user_id=wire.user_id,
        status=_ORDER_STATUS[wire.status],
        created_at=wire.created_at,
        updated_at=wire.updated_at,
        amount=wire.amount,
        payload=received.payload,
    )


def chargeback_notice(received: Received[ChargebackWebhook]) -> ChargebackNotice:
    wire = received.wire
    decision = None
    if wire.status == "closed":
        decision = DisputeStatus(wire.resolution) if wire.resolution else DisputeStatus.CLOSED
    return ChargebackNotice(
        provider_event_id=wire.provider_event_id,
        order_id=wire.order_id,
        user_id=wire.user_id,
        status=_NOTICE_STATUS[wire.status],
        decision=decision,
        reason=wire.reason,
        amount=wire.amount,
        occurred_at=wire.occurred_at,
        evidence_due_at=wire.evidence_due_at,
        payload=received.payload,
    )
