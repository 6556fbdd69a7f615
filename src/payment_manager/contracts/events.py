"""Events as they are stored and shown: a kind, and data in JSON.

How to think about it: the log outlives the code, so the stored form is a contract like any other.
`encode` writes today's form, `decode` reads every form that was ever written; a new version of an
event is a new branch in `decode`, never an update of the log. A webhook's data holds its payload as
received, byte for byte, and decoding reads it again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple, assert_never

import msgspec

from payment_manager.contracts.commands import chargeback_notice, order_snapshot
from payment_manager.contracts.webhooks import read_chargeback_webhook, read_order_webhook
from payment_manager.contracts.wire import parse
from payment_manager.domain import dispute, order
from payment_manager.domain.decider import Outcome
from payment_manager.domain.money import Money, from_decimal, to_decimal

ORDER_KINDS = (
    "webhook_received",
    "webhook_rejected",
    "hold_set",
    "hold_cleared",
    "capture_requested",
    "capture_completed",
    "capture_failed",
)
DISPUTE_KINDS = (
    "webhook_opened",
    "webhook_updated",
    "provider_decision",
    "webhook_rejected",
    "evidence_added",
    "submission_requested",
    "evidence_submitted",
    "submission_failed",
)

_NOTICE_KIND = {
    dispute.NoticeStatus.OPENED: "webhook_opened",
    dispute.NoticeStatus.UPDATED: "webhook_updated",
    dispute.NoticeStatus.CLOSED: "provider_decision",
}


class Encoded(NamedTuple):
    kind: str
    provider_event_id: str | None
    data: bytes


class _WebhookData(msgspec.Struct):
    outcome: Outcome
    payload: msgspec.Raw
    parked_at: datetime | None = None


_encode = msgspec.json.Encoder(decimal_format="number").encode
_decode_webhook = msgspec.json.Decoder(_WebhookData).decode


def _webhook(outcome: Outcome, payload: bytes, parked_at: datetime | None = None) -> bytes:
    if parked_at is None:
        return b'{"outcome":"%b","payload":%b}' % (outcome.encode(), payload)
    return b'{"outcome":"%b","payload":%b,"parked_at":%b}' % (
        outcome.encode(),
        payload,
        _encode(parked_at),
    )


def _action(actor: str, reason: str | None = None, **parameters: Any) -> bytes:
    return _encode({**parameters, "actor": actor, "reason": reason})


@contextmanager
def _damage_named(kind: str) -> Iterator[None]:
    try:
        yield
    except (LookupError, TypeError, msgspec.MsgspecError) as error:
        raise ValueError(f"not the data of a {kind}") from error


def _money(money: Money) -> dict[str, Any]:
    return {"amount": to_decimal(money), "currency": money.currency}


def encode_order_event(event: order.Event) -> Encoded:
    match event:
        case order.SnapshotTaken(snapshot, outcome):
            data = _webhook(outcome, snapshot.payload)
            return Encoded("webhook_received", snapshot.provider_event_id, data)
        case order.SnapshotRejected(snapshot):
            data = _webhook(Outcome.REJECTED, snapshot.payload)
            return Encoded("webhook_rejected", snapshot.provider_event_id, data)
        case order.HoldSet(reason, actor):
            return Encoded("hold_set", None, _action(actor, reason))
        case order.HoldCleared(actor):
            return Encoded("hold_cleared", None, _action(actor))
        case order.CaptureRequested(key, money, actor):
            return Encoded(
                "capture_requested", None, _action(actor, idempotency_key=key, **_money(money))
            )
        case order.CaptureCompleted(key, provider_tx_id):
            data = _encode({"idempotency_key": key, "provider_tx_id": provider_tx_id})
            return Encoded("capture_completed", None, data)
        case order.CaptureFailed(key, provider_tx_id, error):
            data = _encode(
                {"idempotency_key": key, "provider_tx_id": provider_tx_id, "error": error}
            )
            return Encoded("capture_failed", None, data)
        case _:
            assert_never(event)


def decode_order_event(kind: str, data: bytes, at: datetime) -> order.Event:
    """Raises `ValueError` for a kind or a form that was never written."""
    with _damage_named(kind):
        return _decode_order_event(kind, data, at)


def _decode_order_event(kind: str, data: bytes, at: datetime) -> order.Event:
    if kind in ("webhook_received", "webhook_rejected"):
        webhook = _decode_webhook(data)
        snapshot = order_snapshot(read_order_webhook(bytes(webhook.payload)))
        if kind == "webhook_rejected":
            return order.SnapshotRejected(snapshot, at)
        return order.SnapshotTaken(snapshot, webhook.outcome, at)
    form = parse(data)
    match kind:
        case "hold_set":
            return order.HoldSet(order.HoldReason(form["reason"]), form["actor"], at)
        case "hold_cleared":
            return order.HoldCleared(form["actor"], at)
        case "capture_requested":
            money = from_decimal(form["amount"], form["currency"])
            return order.CaptureRequested(form["idempotency_key"], money, form["actor"], at)
        case "capture_completed":
            return order.CaptureCompleted(form["idempotency_key"], form["provider_tx_id"], at)
        case "capture_failed":
            return order.CaptureFailed(
                form["idempotency_key"], form["provider_tx_id"], form["error"], at
            )
        case _:
            raise ValueError(f"unknown kind of order event: {kind}")


def encode_dispute_event(event: dispute.Event) -> Encoded:
    match event:
        case dispute.NoticeTaken(notice, outcome, parked_at):
            data = _webhook(outcome, notice.payload, parked_at)
            return Encoded(_NOTICE_KIND[notice.status], notice.provider_event_id, data)
        case dispute.NoticeRejected(notice, parked_at):
            data = _webhook(Outcome.REJECTED, notice.payload, parked_at)
            return Encoded("webhook_rejected", notice.provider_event_id, data)
        case dispute.EvidenceReplaced(fields, files, actor):
            return Encoded("evidence_added", None, _action(actor, fields=fields, files=files))
        case dispute.SubmissionRequested(key, file_ids, fields, actor):
            return Encoded(
                "submission_requested",
                None,
                _action(actor, idempotency_key=key, file_ids=file_ids, fields=fields),
            )
        case dispute.EvidenceSubmitted(key, submission_id):
            data = _encode({"idempotency_key": key, "submission_id": submission_id})
            return Encoded("evidence_submitted", None, data)
        case dispute.SubmissionFailed(key, error):
            data = _encode({"idempotency_key": key, "error": error})
            return Encoded("submission_failed", None, data)
        case _:
            assert_never(event)


def decode_dispute_event(kind: str, data: bytes, at: datetime) -> dispute.Event:
    """Raises `ValueError` for a kind or a form that was never written."""
    with _damage_named(kind):
        return _decode_dispute_event(kind, data, at)


def _decode_dispute_event(kind: str, data: bytes, at: datetime) -> dispute.Event:
    if kind in ("webhook_opened", "webhook_updated", "provider_decision", "webhook_rejected"):
        webhook = _decode_webhook(data)
        notice = chargeback_notice(read_chargeback_webhook(bytes(webhook.payload)))
        if kind == "webhook_rejected":
            return dispute.NoticeRejected(notice, webhook.parked_at, at)
        return dispute.NoticeTaken(notice, webhook.outcome, webhook.parked_at, at)
    form = parse(data)
    match kind:
        case "evidence_added":
            files = msgspec.convert(form["files"], tuple[dispute.EvidenceFile, ...])
            return dispute.EvidenceReplaced(form["fields"], files, form["actor"], at)
        case "submission_requested":
            return dispute.SubmissionRequested(
                form["idempotency_key"], tuple(form["file_ids"]), form["fields"], form["actor"], at
            )
        case "evidence_submitted":
            return dispute.EvidenceSubmitted(form["idempotency_key"], form["submission_id"], at)
        case "submission_failed":
            return dispute.SubmissionFailed(form["idempotency_key"], form["error"], at)
        case _:
            raise ValueError(f"unknown kind of dispute event: {kind}")
