"""The envelope around a webhook in Kafka: nothing changes on the way, and what is none is named."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_manager.contracts.envelope import Kind, decode, encode
from payment_manager.contracts.wire import FieldError, InvalidInput
from tests.webhooks import ANN, order_webhook

EVENT_ID = UUID("01989b12-0000-7000-8000-000000000001")
RECEIVED_AT = datetime(2026, 1, 2, 10, 0, 0, 123456, UTC)

ENVELOPE: dict[str, Any] = {
    "event_id": str(EVENT_ID),
    "key": ANN,
    "type": "order.webhook",
    "payload": {"a": 1},
    "timestamp": "2026-01-02T10:00:00Z",
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
)  # fmt: skip


def wrapped(payload: bytes, kind: Kind = Kind.ORDER) -> bytes:
    return encode(EVENT_ID, ANN, kind, payload, RECEIVED_AT)


def faults(value: bytes | None, kind: Kind = Kind.ORDER) -> list[FieldError]:
    with pytest.raises(InvalidInput) as invalid:
        decode(value, kind)
    return list(invalid.value.errors)


def test_a_message_is_what_the_contract_says() -> None:
    body = order_webhook()
    assert json.loads(wrapped(body)) == {
        "event_id": str(EVENT_ID),
        "key": ANN,
        "type": "order.webhook",
        "payload": json.loads(body),
        "timestamp": "2026-01-02T10:00:00.123456Z",
    }


@given(json_values, st.sampled_from([None, 1]), st.booleans())
def test_the_payload_comes_out_byte_for_byte(value: Any, indent: int | None, ascii: bool) -> None:
    payload = json.dumps({"x": value}, indent=indent, ensure_ascii=ascii).encode(
        "utf-8", "surrogatepass"
    )
    assert bytes(decode(wrapped(payload), Kind.ORDER).payload) == payload


@pytest.mark.parametrize(
    "payload",
    [b'{"a":100.50}', b'{"a":1e2,"a":1E+02}', b'{ "b" : 1 ,\n\t"a":2 }', b'{"\\u0061":"\\/"}'],
)
def test_spelling_is_kept(payload: bytes) -> None:
    assert payload in wrapped(payload)
    assert bytes(decode(wrapped(payload), Kind.ORDER).payload) == payload


def test_all_else_comes_out_as_it_went_in() -> None:
    read = decode(wrapped(b"{}", Kind.DISPUTE), Kind.DISPUTE)
    assert (read.event_id, read.key, read.timestamp) == (EVENT_ID, ANN, RECEIVED_AT)


def test_the_other_topics_kind_is_refused() -> None:
    message = wrapped(b"{}", Kind.DISPUTE)
    assert faults(message) == [FieldError("type", "must be order.webhook in this topic")]


@pytest.mark.parametrize("field", ENVELOPE)
def test_a_missing_field_is_named(field: str) -> None:
    without = {name: value for name, value in ENVELOPE.items() if name != field}
    assert [error.field for error in faults(json.dumps(without).encode())] == [field]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", "no id"),
        ("key", 1),
        ("type", "refund.webhook"),
        ("timestamp", "2026-01-02T10:00:00"),
        ("timestamp", "yesterday"),
    ],
)
def test_a_wrong_field_is_named_and_not_repeated(field: str, value: Any) -> None:
    [error] = faults(json.dumps({**ENVELOPE, field: value}).encode())
    assert error.field == field
    assert str(value) not in error.message


@pytest.mark.parametrize(
    "value", [None, b"", b"poison", b"[]", b"null", b"\xff\xfe", b'{"a":', b"[" * 100_000]
)
def test_what_is_no_envelope_is_refused_and_never_raises_anything_else(value: bytes | None) -> None:
    [error] = faults(value)
    assert error.field == ""


def test_unknown_fields_are_ignored() -> None:
    assert decode(json.dumps({**ENVELOPE, "more": 1}).encode(), Kind.ORDER).key == ANN
