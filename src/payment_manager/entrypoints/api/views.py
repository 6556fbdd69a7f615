"""Domain states as the API shows them."""

from uuid import UUID

import msgspec

from payment_manager.application.ports import EventRow
from payment_manager.contracts.api import (
    CaptureAnswer,
    CaptureView,
    DisputeEventView,
    DisputeView,
    EvidenceFileView,
    EvidenceView,
    HoldAnswer,
    OrderEventView,
    OrderView,
    SubmitAnswer,
)
from payment_manager.domain.dispute import Dispute, Evidence, Submission
from payment_manager.domain.money import to_decimal
from payment_manager.domain.order import AttemptStatus, Capture, Order

REPLAYED = {"Idempotent-Replayed": "true"}

_SUBMISSION_STATUS = {
    AttemptStatus.PENDING: "pending",
    AttemptStatus.SUCCESS: "submitted",
    AttemptStatus.FAILED: "submission_error",
}


def order_view(order: Order) -> OrderView:
    capture = order.capture
    return OrderView(
        order_id=order.order_id,
        user_id=order.user_id,
        status=order.status.value,
        on_hold=order.on_hold,
        hold_reason=order.hold_reason.value if order.hold_reason else None,
        amount=to_decimal(order.amount) if order.amount else None,
        currency=order.amount.currency if order.amount else None,
        capture=_capture_view(capture) if capture else None,
        created_at=order.created_at,
        updated_at=order.updated_at,
    )


def _capture_view(capture: Capture) -> CaptureView:
    return CaptureView(
        status=capture.status.value,
        amount=to_decimal(capture.money),
        currency=capture.money.currency,
        provider_tx_id=capture.provider_tx_id,
        captured_at=capture.captured_at,
    )


def hold_answer(order: Order) -> HoldAnswer:
    return HoldAnswer(
        order_id=order.order_id,
        on_hold=order.on_hold,
        reason=order.hold_reason.value if order.hold_reason else None,
        updated_at=order.hold_changed_at,
    )


def capture_answer(order_id: str, capture: Capture) -> CaptureAnswer:
    return CaptureAnswer(
        order_id=order_id,
        amount=to_decimal(capture.money),
        currency=capture.money.currency,
        status=capture.status.value,
        provider_tx_id=capture.provider_tx_id,
        captured_at=capture.captured_at,
        error=capture.error,
    )


def dispute_view(dispute: Dispute) -> DisputeView:
    sent = next((s for s in dispute.submissions if s.status is AttemptStatus.SUCCESS), None)
    return DisputeView(
        dispute_id=dispute.dispute_id,
        order_id=dispute.order_id,
        status=dispute.status.value,
        reason=dispute.reason,
        amount=to_decimal(dispute.amount),
        currency=dispute.amount.currency,
        opened_at=dispute.opened_at,
        evidence_due_at=dispute.evidence_due_at,
        submitted_at=sent.submitted_at if sent else None,
        closed_at=dispute.closed_at,
        submitting_id=sent.submission_id if sent else None,
    )


def evidence_view(dispute_id: UUID, evidence: Evidence) -> EvidenceView:
    return EvidenceView(
        dispute_id=dispute_id,
        fields=dict(evidence.fields),
        files=[EvidenceFileView(f.file_id, f.name, f.content_type, f.size) for f in evidence.files],
        updated_at=evidence.updated_at,
    )


def submit_answer(submission: Submission) -> SubmitAnswer:
    return SubmitAnswer(
        submission_id=submission.submission_id,
        status=_SUBMISSION_STATUS[submission.status],  # type: ignore[arg-type]
        submitted_at=submission.submitted_at,
        error=submission.error,
    )


def order_event_view(row: EventRow) -> OrderEventView:
    return OrderEventView(
        row.event_id, row.stream, row.kind, row.provider_event_id, msgspec.Raw(row.data),
        row.created_at, row.sequence,
    )  # fmt: skip


def dispute_event_view(row: EventRow) -> DisputeEventView:
    return DisputeEventView(
        row.event_id, row.stream, row.kind, row.provider_event_id, msgspec.Raw(row.data),
        row.created_at, row.sequence,
    )  # fmt: skip
