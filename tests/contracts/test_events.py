"""Events as they are stored: what was encoded is decoded again, whatever it holds.

How to think about it: the log is the authority, so the round trip is tested on any event that the
domain can make, with texts, times and amounts at their limits, and on the stored form itself: bytes
that are written here are what a log of years ago looks like, and must be read for ever.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_manager.contracts.commands import chargeback_notice, order_snapshot
from payment_manager.contracts.events import (
    DISPUTE_KINDS,
    ORDER_KINDS,
    decode_dispute_event,
    decode_order_event,
    encode_dispute_event,
    encode_order_event,
)
from payment_manager.contracts.webhooks import read_chargeback_webhook, read_order_webhook
from payment_manager.domain import dispute, order
from payment_manager.domain.currencies import MINOR_UNITS
from payment_manager.domain.decider import Outcome, fold
from payment_manager.domain.dispute import ChargebackNotice, EvidenceFile
from payment_manager.domain.money import Money
from payment_manager.domain.order import HoldReason, OrderSnapshot
from tests.webhooks import chargeback_webhook, order_webhook

AT = datetime(2026, 1, 2, 10, 0, 0, 7, tzinfo=UTC)

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2100, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
KEYS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1) | st.just("§1")
MONEY = st.builds(Money, st.integers(1, 10**15 - 1), st.sampled_from(sorted(MINOR_UNITS)))
REFERENCES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=255)
FIELDS = st.dictionaries(TEXTS, TEXTS, max_size=3)
FILES = st.lists(
    st.builds(EvidenceFile, TEXTS, TEXTS, TEXTS, st.integers(0, 10**15)), max_size=3
).map(tuple)

# What a provider may add to its webhooks; the event keeps all of it.
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
EXTRAS = st.fixed_dictionaries({"note": TEXTS, "more": JSON_VALUES})
MINUTES = st.integers(0, 5)
TAKEN = st.sampled_from([Outcome.APPLIED, Outcome.STALE])


def spelled(body: bytes, extra: dict[str, Any], blanks: bool) -> bytes:
    merged = {**json.loads(body), **extra}
    return json.dumps(merged, ensure_ascii=blanks, indent=2 if blanks else None).encode()


def snapshot(status: str, minute: int, extra: dict[str, Any], blanks: bool) -> OrderSnapshot:
    body = spelled(order_webhook("ord-1", status, minute), extra, blanks)
    return order_snapshot(read_order_webhook(body))


def notice(status: str, minute: int, extra: dict[str, Any], blanks: bool) -> ChargebackNotice:
    decision = status if status in ("won", "lost", "canceled") else None
    sent = "closed" if decision else status
    body = spelled(chargeback_webhook("ord-1", sent, minute, decision), extra, blanks)
    return chargeback_notice(read_chargeback_webhook(body))


SNAPSHOTS = st.builds(snapshot, st.sampled_from(order.OrderStatus), MINUTES, EXTRAS, st.booleans())
NOTICES = st.builds(
    notice,
    st.sampled_from(["opened", "updated", "closed", "won", "lost", "canceled"]),
    MINUTES,
    EXTRAS,
    st.booleans(),
)
PARKED = st.none() | TIMES

ORDER_EVENTS: dict[type, st.SearchStrategy[order.Event]] = {
    order.SnapshotTaken: st.builds(order.SnapshotTaken, SNAPSHOTS, TAKEN, TIMES),
    order.SnapshotRejected: st.builds(order.SnapshotRejected, SNAPSHOTS, TIMES),
    order.HoldSet: st.builds(order.HoldSet, st.sampled_from(HoldReason), TEXTS, TIMES),
    order.HoldCleared: st.builds(order.HoldCleared, TEXTS, TIMES),
    order.CaptureRequested: st.builds(order.CaptureRequested, KEYS, MONEY, TEXTS, TIMES),
    order.CaptureCompleted: st.builds(order.CaptureCompleted, KEYS, REFERENCES, TIMES),
    order.CaptureFailed: st.builds(order.CaptureFailed, KEYS, st.none() | REFERENCES, TEXTS, TIMES),
}
DISPUTE_EVENTS: dict[type, st.SearchStrategy[dispute.Event]] = {
    dispute.NoticeTaken: st.builds(dispute.NoticeTaken, NOTICES, TAKEN, PARKED, TIMES),
    dispute.NoticeRejected: st.builds(dispute.NoticeRejected, NOTICES, PARKED, TIMES),
    dispute.EvidenceReplaced: st.builds(dispute.EvidenceReplaced, FIELDS, FILES, TEXTS, TIMES),
    dispute.SubmissionRequested: st.builds(
        dispute.SubmissionRequested, KEYS, st.lists(TEXTS).map(tuple), FIELDS, TEXTS, TIMES
    ),
    dispute.EvidenceSubmitted: st.builds(dispute.EvidenceSubmitted, KEYS, REFERENCES, TIMES),
    dispute.SubmissionFailed: st.builds(dispute.SubmissionFailed, KEYS, TEXTS, TIMES),
}


def order_again(event: order.Event) -> order.Event:
    encoded = encode_order_event(event)
    json.loads(encoded.data)  # whatever else it is, it is JSON
    return decode_order_event(encoded.kind, encoded.data, event.at)


def dispute_again(event: dispute.Event) -> dispute.Event:
    encoded = encode_dispute_event(event)
    json.loads(encoded.data)
    return decode_dispute_event(encoded.kind, encoded.data, event.at)


def test_every_event_is_tried_here() -> None:
    assert set(ORDER_EVENTS) == set(get_args(order.Event))
    assert set(DISPUTE_EVENTS) == set(get_args(dispute.Event))


@given(st.one_of(*ORDER_EVENTS.values()))
def test_any_order_event_is_the_same_after_the_log(event: order.Event) -> None:
    assert order_again(event) == event


@given(st.one_of(*DISPUTE_EVENTS.values()))
def test_any_dispute_event_is_the_same_after_the_log(event: dispute.Event) -> None:
    assert dispute_again(event) == event


@given(
    st.builds(order.SnapshotTaken, SNAPSHOTS, TAKEN, TIMES),
    st.lists(st.one_of(*ORDER_EVENTS.values()), max_size=6),
)
def test_an_order_folded_from_its_log_is_the_order(
    first: order.Event, rest: Sequence[order.Event]
) -> None:
    events = [first, *rest]
    assert fold(order.evolve, map(order_again, events)) == fold(order.evolve, events)


@given(
    st.builds(dispute.NoticeTaken, NOTICES, TAKEN, PARKED, TIMES),
    st.lists(st.one_of(*DISPUTE_EVENTS.values()), max_size=6),
)
def test_a_dispute_folded_from_its_log_is_the_dispute(
    first: dispute.Event, rest: Sequence[dispute.Event]
) -> None:
    events = [first, *rest]
    assert fold(dispute.evolve, map(dispute_again, events)) == fold(dispute.evolve, events)


@pytest.mark.parametrize(
    "blanks", [b"", b" ", b"\r\n\t "], ids=["no blanks", "a blank", "all blanks"]
)
def test_the_payload_is_in_the_event_byte_for_byte(blanks: bytes) -> None:
    inner = b'{ "x" :1.50,"x":1e2, "\\u00e9":"\\/",\n' + order_webhook()[1:]
    received = order_snapshot(read_order_webhook(blanks + inner + blanks))
    event = order.SnapshotTaken(received, Outcome.APPLIED, AT)
    assert encode_order_event(event).data == b'{"outcome":"applied","payload":%b}' % inner
    assert order_again(event) == event
    inner = b'{ "x" :1.50,\n' + chargeback_webhook()[1:]
    parked = chargeback_notice(read_chargeback_webhook(blanks + inner + blanks))
    taken = dispute.NoticeTaken(parked, Outcome.STALE, AT, AT)
    assert encode_dispute_event(taken).data == (
        b'{"outcome":"stale","payload":%b,"parked_at":"2026-01-02T10:00:00.000007Z"}' % inner
    )
    assert dispute_again(taken) == taken


# ── The stored form, written out ──────────────────────────────────────────────────────────────────

A_SNAPSHOT = snapshot("updated", 5, {"provider_event_id": "evt-1"}, False)
FORMS_OF_ORDERS: list[tuple[order.Event, str, str | None, dict[str, Any]]] = [
    (
        order.SnapshotRejected(A_SNAPSHOT, AT),
        "webhook_rejected",
        "evt-1",
        {"outcome": "rejected", "payload": json.loads(A_SNAPSHOT.payload)},
    ),
    (
        order.HoldSet(HoldReason.RISK, "ann", AT),
        "hold_set",
        None,
        {"actor": "ann", "reason": "risk"},
    ),
    (order.HoldCleared("ann", AT), "hold_cleared", None, {"actor": "ann", "reason": None}),
    (
        order.CaptureRequested("k", Money(10050, "USD"), "ann", AT),
        "capture_requested",
        None,
        {
            "idempotency_key": "k",
            "amount": 100.50,
            "currency": "USD",
            "actor": "ann",
            "reason": None,
        },
    ),
    (
        order.CaptureCompleted("k", "txn-1", AT),
        "capture_completed",
        None,
        {"idempotency_key": "k", "provider_tx_id": "txn-1"},
    ),
    (
        order.CaptureFailed("k", None, "declined", AT),
        "capture_failed",
        None,
        {"idempotency_key": "k", "provider_tx_id": None, "error": "declined"},
    ),
]
A_FILE = {"file_id": "f", "name": "a", "content_type": "b", "size": 1}
FORMS_OF_DISPUTES: list[tuple[dispute.Event, str, dict[str, Any]]] = [
    (
        dispute.EvidenceReplaced({"a": "b"}, (EvidenceFile(**A_FILE),), "ann", AT),  # type: ignore[arg-type]
        "evidence_added",
        {"fields": {"a": "b"}, "files": [A_FILE], "actor": "ann", "reason": None},
    ),
    (
        dispute.SubmissionRequested("k", ("f",), {"a": "b"}, "ann", AT),
        "submission_requested",
        {
            "idempotency_key": "k",
            "file_ids": ["f"],
            "fields": {"a": "b"},
            "actor": "ann",
            "reason": None,
        },
    ),
    (
        dispute.EvidenceSubmitted("k", "sg-1", AT),
        "evidence_submitted",
        {"idempotency_key": "k", "submission_id": "sg-1"},
    ),
    (
        dispute.SubmissionFailed("k", "no", AT),
        "submission_failed",
        {"idempotency_key": "k", "error": "no"},
    ),
]


@pytest.mark.parametrize(("event", "kind", "id", "data"), FORMS_OF_ORDERS)
def test_an_order_event_has_this_form(
    event: order.Event, kind: str, id: str | None, data: dict[str, Any]
) -> None:
    encoded = encode_order_event(event)
    assert (encoded.kind, encoded.provider_event_id) == (kind, id)
    assert json.loads(encoded.data) == data
    assert decode_order_event(kind, json.dumps(data).encode(), AT) == event


@pytest.mark.parametrize(("event", "kind", "data"), FORMS_OF_DISPUTES)
def test_a_dispute_event_has_this_form(
    event: dispute.Event, kind: str, data: dict[str, Any]
) -> None:
    encoded = encode_dispute_event(event)
    assert (encoded.kind, encoded.provider_event_id) == (kind, None)
    assert json.loads(encoded.data) == data
    assert decode_dispute_event(kind, json.dumps(data).encode(), AT) == event


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("opened", "webhook_opened"),
        ("updated", "webhook_updated"),
        ("closed", "provider_decision"),
        ("won", "provider_decision"),
    ],
)
def test_a_notice_that_was_taken_is_named_after_what_it_says(status: str, kind: str) -> None:
    said = notice(status, 0, {}, False)
    assert encode_dispute_event(dispute.NoticeTaken(said, Outcome.STALE, None, AT)).kind == kind
    rejected = encode_dispute_event(dispute.NoticeRejected(said, None, AT))
    assert rejected.kind == "webhook_rejected"


def test_an_amount_is_stored_as_a_number_with_the_currencys_decimals() -> None:
    requested = order.CaptureRequested("k", Money(10000, "USD"), "ann", AT)
    assert b'"amount":100.00,' in encode_order_event(requested).data


@given(st.one_of(*ORDER_EVENTS.values()), st.one_of(*DISPUTE_EVENTS.values()))
def test_every_kind_that_is_written_is_in_the_list(
    of_order: order.Event, of_dispute: dispute.Event
) -> None:
    assert encode_order_event(of_order).kind in ORDER_KINDS
    assert encode_dispute_event(of_dispute).kind in DISPUTE_KINDS


@pytest.mark.parametrize("decode", [decode_order_event, decode_dispute_event])
@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("", b"{}"),
        ("webhook", b"{}"),
        ("HOLD_SET", b"{}"),
        ("webhook_rejected", b"{}"),
        ("webhook_rejected", b'{"outcome":"rejected","payload":{}}'),
        ("webhook_rejected", b'{"outcome":"nonsense","payload":{}}'),
        ("webhook_rejected", b"not json"),
    ],
)
def test_a_form_that_was_never_written_is_refused(
    decode: Callable[[str, bytes, datetime], object], kind: str, data: bytes
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  damage is reported, whatever it says
        decode(kind, data, AT)


@pytest.mark.parametrize("kind", [*ORDER_KINDS, *DISPUTE_KINDS])
def test_an_event_without_its_data_is_refused_as_damaged(kind: str) -> None:
    decode: Callable[[str, bytes, datetime], object]
    decode = decode_order_event if kind in ORDER_KINDS else decode_dispute_event
    with pytest.raises(ValueError):  # noqa: PT011  damage is reported, whatever it says
        decode(kind, b"{}", AT)
