"""Rows to states and back: the only place that knows both columns and dataclasses.

How to think about it: a row is written as a JSON object and unpacked by the server
(`json_to_recordset`), because encoding a batch that way costs the service a tenth of what the
driver needs for arrays of text. Reading goes through the driver.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

import msgspec

from payment_manager.application.ports import (
    Attempt,
    Known,
    Loaded,
    Parked,
    Recorded,
    Space,
    Stream,
    WebhookId,
)
from payment_manager.contracts.commands import chargeback_notice
from payment_manager.contracts.events import encode_dispute_event, encode_order_event
from payment_manager.contracts.webhooks import read_chargeback_webhook
from payment_manager.domain import dispute as disputes
from payment_manager.domain.decider import Precedence
from payment_manager.domain.dispute import Dispute, Evidence, EvidenceFile, Submission
from payment_manager.domain.money import Money
from payment_manager.domain.order import AttemptStatus, Capture, HoldReason, Order, OrderStatus

Row = dict[str, Any]

_RUN_GAP_MAX = timedelta(seconds=1)
"""A command's or a batch's events have one time, or lie within moments."""

_encode = msgspec.json.Encoder().encode


class _Intent(msgspec.Struct):
    key: str
    status: AttemptStatus
    requested_at: datetime
    settled_at: datetime | None
    reference: str | None
    error: str | None
    amount_minor: int = 0
    currency: str = ""
    file_ids: tuple[str, ...] = ()
    fields: dict[str, str] = {}


_decode_intents = msgspec.json.Decoder(list[_Intent]).decode
_decode_order_provenance = msgspec.json.Decoder(tuple[Precedence, Precedence | None]).decode
_decode_dispute_provenance = msgspec.json.Decoder(
    tuple[Precedence, Precedence | None, Precedence | None]
).decode
_decode_fields = msgspec.json.Decoder(dict[str, str]).decode
_decode_files = msgspec.json.Decoder(tuple[EvidenceFile, ...]).decode


class _OrderRow(msgspec.Struct):
    """The columns of `order_columns.sql`, in its order, as JSON brings them."""

    order_id: str
    user_id: UUID
    status: str
    created_at: datetime
    updated_at: datetime
    amount_minor: int | None
    currency: str | None
    hold_reason: str | None
    hold_changed_at: datetime | None
    provenance: str
    sequence: int
    first_event_at: datetime
    last_event_at: datetime
    captures: str | None


class _DisputeRow(msgspec.Struct):
    """The columns of `dispute_columns.sql`, in its order, as JSON brings them."""

    order_id: str
    reason: str
    amount_minor: int
    currency: str
    decision: str | None
    progress: str
    opened_at: datetime | None
    evidence_due_at: datetime | None
    closed_at: datetime | None
    provenance: str
    sequence: int
    first_event_at: datetime
    last_event_at: datetime
    evidence_fields: str | None
    evidence_files: str | None
    evidence_updated_at: datetime | None
    submissions: str | None


class _ParkedRow(msgspec.Struct):
    """The columns of `load_parked.sql`, in its order, as JSON brings them."""

    position: int
    payload: str
    content_hash: str
    parked_at: datetime
    correlation_id: str


class _KnownRow(msgspec.Struct):
    """The columns of `load_webhook_ids.sql`, as JSON brings them."""

    space: Space
    order_id: str
    provider_event_id: str
    content_hash: str
    rejected_over: str | None


_decode_order = msgspec.json.Decoder(_OrderRow).decode
_decode_dispute = msgspec.json.Decoder(_DisputeRow).decode
_decode_parked = msgspec.json.Decoder(_ParkedRow).decode
_decode_known = msgspec.json.Decoder(_KnownRow).decode


def as_json(rows: Sequence[Row] | Sequence[str]) -> str:
    return _encode(rows).decode()


# ── Reading ───────────────────────────────────────────────────────────────────────────────────────


def order_stream(row: Sequence[Any]) -> Stream[Order]:
    """From the columns of `order_columns.sql`, in its order."""
    (
        order_id, user_id, status, created_at, updated_at, amount_minor, currency, hold_reason,
        hold_changed_at, provenance, sequence, first_event_at, last_event_at, captures,
    ) = row  # fmt: skip
    latest, amount_from = _decode_order_provenance(provenance)
    state = Order(
        order_id=order_id,
        user_id=user_id,
        status=OrderStatus(status),
        created_at=created_at,
        updated_at=updated_at,
        amount=None if amount_minor is None else Money(amount_minor, currency),
        latest=latest,
        amount_from=amount_from,
        hold_reason=HoldReason(hold_reason) if hold_reason else None,
        hold_changed_at=hold_changed_at,
        captures=tuple(map(_capture, _decode_intents(captures))) if captures else (),
    )
    return Stream(state, sequence, first_event_at, last_event_at)


def _capture(intent: _Intent) -> Capture:
    return Capture(
        key=intent.key,
        money=Money(intent.amount_minor, intent.currency),
        status=intent.status,
        requested_at=intent.requested_at,
        provider_tx_id=intent.reference,
        captured_at=intent.settled_at,
        error=intent.error,
    )


def dispute_stream(row: Sequence[Any]) -> Stream[Dispute]:
    """From the columns of `dispute_columns.sql`, in its order."""
    (
        order_id, reason, amount_minor, currency, decision, progress, opened_at, evidence_due_at,
        closed_at, provenance, sequence, first_event_at, last_event_at, fields, files, updated_at,
        submissions,
    ) = row  # fmt: skip
    latest, opened_from, due_from = _decode_dispute_provenance(provenance)
    state = Dispute(
        order_id=order_id,
        reason=reason,
        amount=Money(amount_minor, currency),
        decision=disputes.DisputeStatus(decision) if decision else None,
        opened_at=opened_at,
        evidence_due_at=evidence_due_at,
        closed_at=closed_at,
        latest=latest,
        opened_from=opened_from,
        due_from=due_from,
        progress=disputes.DisputeStatus(progress),
        evidence=(
            Evidence(_decode_fields(fields), _decode_files(files), updated_at)
            if updated_at
            else None
        ),
        submissions=tuple(map(_submission, _decode_intents(submissions))) if submissions else (),
    )
    return Stream(state, sequence, first_event_at, last_event_at)


def _submission(intent: _Intent) -> Submission:
    return Submission(
        key=intent.key,
        file_ids=intent.file_ids,
        fields=intent.fields,
        status=intent.status,
        requested_at=intent.requested_at,
        submission_id=intent.reference,
        submitted_at=intent.settled_at,
        error=intent.error,
    )


def parked(row: Sequence[Any]) -> Parked:
    _, payload, content_hash, parked_at, correlation_id = row
    notice = chargeback_notice(read_chargeback_webhook(payload.encode()))
    return Parked(notice, content_hash, parked_at, correlation_id)


def loaded(found: Sequence[tuple[str, str]]) -> Loaded:
    """From the rows of `load_batch.sql`: a kind, and its columns as JSON."""
    batch = Loaded()
    waiting: list[_ParkedRow] = []
    for kind, text in found:
        match kind:
            case "order":
                order = order_stream(msgspec.structs.astuple(_decode_order(text)))
                batch.orders[order.state.order_id] = order
            case "dispute":
                dispute = dispute_stream(msgspec.structs.astuple(_decode_dispute(text)))
                batch.disputes[dispute.state.order_id] = dispute
            case "parked":
                waiting.append(_decode_parked(text))
            case _:
                taken = _decode_known(text)
                id = WebhookId(taken.space, taken.order_id, taken.provider_event_id)
                batch.known[id] = Known(_bytes(taken.content_hash), taken.rejected_over)
    for row in sorted(waiting, key=lambda row: row.position):
        hash_ = _bytes(row.content_hash)
        one = parked((row.position, row.payload, hash_, row.parked_at, row.correlation_id))
        batch.parked.setdefault(one.notice.order_id, []).append(one)
    return batch


def _bytes(text: str) -> bytes:
    """A `bytea` as JSON shows it: a backslash, an x, hexadecimal digits."""
    return bytes.fromhex(text[2:])


# ── Writing ───────────────────────────────────────────────────────────────────────────────────────


def order_row(stream: Stream[Order]) -> Row:
    order = stream.state
    return {
        "order_id": order.order_id,
        "user_id": order.user_id,
        "status": order.status,
        "created_at": order.created_at,
        "updated_at": order.updated_at,
        "amount_minor": order.amount.minor if order.amount else None,
        "currency": order.amount.currency if order.amount else None,
        "hold_reason": order.hold_reason,
        "hold_changed_at": order.hold_changed_at,
        "provenance": (order.latest, order.amount_from),
        "sequence": stream.sequence,
        "first_event_at": stream.first_event_at,
        "last_event_at": stream.last_event_at,
    }


def dispute_row(stream: Stream[Dispute]) -> Row:
    dispute = stream.state
    return {
        "dispute_id": dispute.dispute_id,
        "order_id": dispute.order_id,
        "decision": dispute.decision,
        "progress": dispute.progress,
        "reason": dispute.reason,
        "amount_minor": dispute.amount.minor,
        "currency": dispute.amount.currency,
        "opened_at": dispute.opened_at,
        "evidence_due_at": dispute.evidence_due_at,
        "closed_at": dispute.closed_at,
        "provenance": (dispute.latest, dispute.opened_from, dispute.due_from),
        "sequence": stream.sequence,
        "first_event_at": stream.first_event_at,
        "last_event_at": stream.last_event_at,
    }


def evidence_row(dispute: Dispute) -> Row:
    evidence = dispute.evidence
    assert evidence is not None
    return {
        "dispute_id": dispute.dispute_id,
        "fields": evidence.fields,
        "files": evidence.files,
        "updated_at": evidence.updated_at,
    }


def intent_row(subject: Order | Dispute, key: str, asked: Attempt | None) -> Row:
    """`asked` for a new one; a settled one keeps who asked and when, so any value will do there."""
    row: Row
    if isinstance(subject, Order):
        capture = subject.capture_with(key)
        assert capture is not None
        row = {
            "space": Space.ORDER,
            "amount_minor": capture.money.minor,
            "currency": capture.money.currency,
            "status": capture.status,
            "requested_at": capture.requested_at,
            "settled_at": capture.captured_at,
            "reference": capture.provider_tx_id,
            "error": capture.error,
        }
    else:
        submission = subject.submission_with(key)
        assert submission is not None
        row = {
            "space": Space.DISPUTE,
            "file_ids": submission.file_ids,
            "fields": submission.fields,
            "status": submission.status,
            "requested_at": submission.requested_at,
            "settled_at": submission.submitted_at,
            "reference": submission.submission_id,
            "error": submission.error,
        }
    row["order_id"] = subject.order_id
    row["key"] = key
    row["correlation_id"] = asked.correlation_id if asked else ""
    row["next_attempt_at"] = asked.next_attempt_at if asked else row["requested_at"]
    return row


def event_row(recorded: Recorded) -> Row:
    if recorded.space is Space.ORDER:
        kind, provider_event_id, data = encode_order_event(recorded.event)  # type: ignore[arg-type]
    else:
        kind, provider_event_id, data = encode_dispute_event(recorded.event)  # type: ignore[arg-type]
    return {
        "event_id": recorded.event_id,
        "stream": recorded.stream,
        "sequence": recorded.sequence,
        "kind": kind,
        "provider_event_id": provider_event_id,
        "data": msgspec.Raw(data),
        "created_at": recorded.created_at,
        "correlation_id": recorded.correlation_id,
    }


def batch_rows(events: Sequence[Recorded]) -> Iterator[Row]:
    """Where these events are: usually all at one time, and so in one row. Those of a long history,
    written at once, are many runs of time, each of which is read without what lies in between.
    """
    run: list[Recorded] = []
    for event in sorted(events, key=attrgetter("created_at")):
        if run and event.created_at - run[-1].created_at > _RUN_GAP_MAX:
            yield _batch_row(run)
            run = []
        run.append(event)
    if run:
        yield _batch_row(run)


def _batch_row(run: Sequence[Recorded]) -> Row:
    orders = sum(event.space is Space.ORDER for event in run)
    return {
        "first_at": run[0].created_at,
        "last_at": run[-1].created_at,
        "order_events": orders,
        "dispute_events": len(run) - orders,
    }


def webhook_id_row(id: WebhookId, known: Known, taken_at: datetime) -> Row:
    return {
        "space": id.space,
        "order_id": id.order_id,
        "provider_event_id": id.provider_event_id,
        "content_hash": known.content_hash.hex(),
        "rejected_over": known.rejected_over,
        "taken_at": taken_at,
    }


def parked_row(parked: Parked) -> Row:
    return {
        "order_id": parked.notice.order_id,
        "provider_event_id": parked.notice.provider_event_id,
        "payload": msgspec.Raw(parked.notice.payload),
        "content_hash": parked.content_hash.hex(),
        "parked_at": parked.parked_at,
        "correlation_id": parked.correlation_id,
    }
