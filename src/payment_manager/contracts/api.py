"""What operators send and what the API answers.

How to think about it: requests are models that are checked, all wrong fields at once; answers are
plain structs, encoded as they stand. Amounts are JSON numbers with exactly the currency's decimals,
times are UTC.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from pydantic import Field, field_validator, model_validator

from payment_manager.contracts.webhooks import Amount, Currency, amount_in, known_currency
from payment_manager.contracts.wire import IdempotencyKey, Line, Model

# ── Requests ──────────────────────────────────────────────────────────────────────────────────────


class HoldRequest(Model):
    """`reason` is needed to `set` a hold, and allowed (and ignored) to `clear` one."""

    action: Literal["set", "clear"]
    reason: Annotated[Literal["manual_review", "risk"] | None, Field(validate_default=True)] = None

    @field_validator("reason")
    @classmethod
    def _needed_to_set(cls, reason: str | None, info: object) -> str | None:
        if reason is None and getattr(info, "data", {}).get("action") == "set":
            raise ValueError("is needed to set a hold: manual_review or risk")
        return reason


class CaptureRequest(Model):
    """`idempotency_key` may come as the Idempotency-Key header instead."""

    currency: Currency  # before the amount, which is read in it
    amount: Amount
    idempotency_key: IdempotencyKey | None = None

    _currency = field_validator("currency", mode="plain")(known_currency)
    _amount = field_validator("amount", mode="plain")(amount_in)


class SubmitRequest(Model):
    """`idempotency_key` may come as the Idempotency-Key header instead; without one each attempt
    has its own.
    """

    idempotency_key: IdempotencyKey | None = None


class EvidenceFileModel(Model):
    """A file that the provider holds already; `size` in bytes."""

    file_id: Line
    name: Line
    content_type: Line
    size: Annotated[int, Field(ge=0, le=10**15)]


class EvidenceRequest(Model):
    """The whole evidence: it replaces what was there, so what is left out is empty afterwards."""

    fields: Annotated[dict[Line, str], Field(max_length=256)] | None = None
    files: Annotated[list[EvidenceFileModel], Field(max_length=256)] | None = None

    @field_validator("files")
    @classmethod
    def _unique(cls, files: list[EvidenceFileModel] | None) -> list[EvidenceFileModel] | None:
        ids = [file.file_id for file in files or ()]
        if len(set(ids)) != len(ids):
            raise ValueError("must name each file_id once")
        return files

    @model_validator(mode="after")
    def _not_empty(self) -> "EvidenceRequest":
        if self.fields is None and self.files is None:
            raise ValueError("must have fields or files")
        return self


# ── Answers ───────────────────────────────────────────────────────────────────────────────────────


UUIDText = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uuid"})]


class WebhookAnswer(msgspec.Struct):
    """`dispute_id` is null for an order's webhook. `outcome`: applied, stale, parked, accepted or
    duplicate.
    """

    outcome: str
    order_id: str
    dispute_id: UUID | None


class CaptureView(msgspec.Struct):
    """The newest attempt to capture."""

    status: Literal["pending", "success", "failed"]
    amount: Decimal
    currency: str
    provider_tx_id: str | None
    captured_at: datetime | None


class OrderView(msgspec.Struct):
    """`created_at` and `updated_at` are the provider's times."""

    order_id: str
    user_id: UUID
    status: Literal["created", "updated", "failed", "success"]
    on_hold: bool
    hold_reason: Literal["manual_review", "risk"] | None
    amount: Decimal | None
    currency: str | None
    capture: CaptureView | None
    created_at: datetime
    updated_at: datetime


class DisputeView(msgspec.Struct):
    dispute_id: UUID
    order_id: str
    status: Literal["open", "under_review", "submitted", "won", "lost", "closed", "canceled"]
    reason: str
    amount: Decimal
    currency: str
    opened_at: datetime | None
    evidence_due_at: datetime | None
    submitted_at: datetime | None
    closed_at: datetime | None
    submitting_id: str | None


class OrderEventView(msgspec.Struct):
    event_id: UUIDText
    order_id: str
    kind: str
    provider_event_id: str | None
    data: msgspec.Raw
    created_at: datetime
    sequence: int


class DisputeEventView(msgspec.Struct):
    event_id: UUIDText
    dispute_id: UUIDText
    kind: str
    provider_event_id: str | None
    data: msgspec.Raw
    created_at: datetime
    sequence: int


class HoldAnswer(msgspec.Struct):
    """`updated_at` is the time of the action; null where there never was a hold."""

    order_id: str
    on_hold: bool
    reason: Literal["manual_review", "risk"] | None
    updated_at: datetime | None


class CaptureAnswer(msgspec.Struct):
    """`status` is `pending` while the provider's answer is unknown."""

    order_id: str
    amount: Decimal
    currency: str
    status: Literal["pending", "success", "failed"]
    provider_tx_id: str | None
    captured_at: datetime | None
    error: str | None


class EvidenceFileView(msgspec.Struct):
    file_id: str
    name: str
    content_type: str
    size: int


class EvidenceView(msgspec.Struct):
    dispute_id: UUID
    fields: dict[str, str]
    files: Sequence[EvidenceFileView]
    updated_at: datetime


class SubmitAnswer(msgspec.Struct):
    """`submission_id` is the provider's; null until it is known."""

    submission_id: str | None
    status: Literal["submitted", "pending", "submission_error"]
    submitted_at: datetime | None
    error: str | None


class FieldProblem(msgspec.Struct):
    field: str
    message: str


class Problem(msgspec.Struct, omit_defaults=True):
    """RFC 9457. `errors` for invalid input, the ids where a webhook was refused."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    correlation_id: str
    errors: Sequence[FieldProblem] | None = None
    order_id: str | None = None
    dispute_id: UUID | None = None


encode = msgspec.json.Encoder(decimal_format="number").encode
