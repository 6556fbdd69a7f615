"""What operators send, and how the answers are spelled."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

import pytest

from payment_manager.contracts.api import (
    CaptureAnswer,
    CaptureRequest,
    EvidenceRequest,
    HoldAnswer,
    HoldRequest,
    SubmitRequest,
    encode,
)
from payment_manager.contracts.wire import InvalidInput, Model, check, parse
from payment_manager.domain.money import Money, to_decimal

M = TypeVar("M", bound=Model)

SENTINEL = "s3ntinel"
KEY_RULE = "must be 1 to 255 printable ASCII characters"
LINE_RULE = "must be 1 to 255 characters without control characters"


def read(model: type[M], value: Any) -> M:
    return check(model, parse(json.dumps(value).encode()))


def errors_of(model: type[Model], value: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refused:
        read(model, value)
    errors = {error.field: error.message for error in refused.value.errors}
    assert len(errors) == len(refused.value.errors)  # one entry each
    assert SENTINEL not in str(refused.value)
    return errors


@pytest.mark.parametrize("model", [HoldRequest, CaptureRequest, SubmitRequest, EvidenceRequest])
@pytest.mark.parametrize("value", [[], 1, "x", None, True])
def test_a_request_is_an_object(model: type[Model], value: Any) -> None:
    assert errors_of(model, value) == {"": "must be a JSON object"}


# ── Hold ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("reason", ["manual_review", "risk"])
def test_a_hold_is_set_for_a_reason(reason: str) -> None:
    request = read(HoldRequest, {"action": "set", "reason": reason, "more": 1})
    assert (request.action, request.reason) == ("set", reason)


@pytest.mark.parametrize("value", [{"action": "set"}, {"action": "set", "reason": None}])
def test_without_a_reason_no_hold_is_set(value: Any) -> None:
    message = "is needed to set a hold: manual_review or risk"
    assert errors_of(HoldRequest, value) == {"reason": message}


@pytest.mark.parametrize("reason", [{}, {"reason": None}, {"reason": "risk"}])
def test_a_hold_is_cleared_with_or_without_a_reason(reason: dict[str, Any]) -> None:
    assert read(HoldRequest, {"action": "clear", **reason}).action == "clear"


@pytest.mark.parametrize(
    ("value", "wrong"),
    [
        ({}, {"action": "is required"}),
        ({"reason": "risk"}, {"action": "is required"}),
        ({"action": "SET", "reason": "risk"}, {"action": "must be 'set' or 'clear'"}),
        ({"action": None, "reason": "risk"}, {"action": "must be 'set' or 'clear'"}),
        ({"action": "set", "reason": ""}, {"reason": "must be 'manual_review' or 'risk'"}),
        (
            {"action": [SENTINEL], "reason": SENTINEL},
            {"action": "must be 'set' or 'clear'", "reason": "must be 'manual_review' or 'risk'"},
        ),
    ],
)
def test_a_hold_request_that_is_refused(value: Any, wrong: dict[str, str]) -> None:
    assert errors_of(HoldRequest, value) == wrong


# ── Capture ───────────────────────────────────────────────────────────────────────────────────────


def test_a_capture_is_money_and_perhaps_a_key() -> None:
    request = read(CaptureRequest, {"amount": 100.5, "currency": "USD", "idempotency_key": "k"})
    assert (request.amount, request.idempotency_key) == (Money(10050, "USD"), "k")
    assert read(CaptureRequest, {"amount": 1, "currency": "JPY"}).idempotency_key is None


@pytest.mark.parametrize("key", ["k", "a b", '"quoted"', "~" * 255])
def test_a_key_that_is_taken(key: str) -> None:
    assert read(SubmitRequest, {"idempotency_key": key}).idempotency_key == key


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\n", "\t", "\x7f", "§1"])
def test_a_key_that_is_refused(key: str) -> None:
    for model, rest in ((SubmitRequest, {}), (CaptureRequest, {"amount": 1, "currency": "USD"})):
        assert errors_of(model, {**rest, "idempotency_key": key}) == {"idempotency_key": KEY_RULE}


def test_all_that_is_wrong_with_a_capture_is_named_at_once() -> None:
    assert errors_of(
        CaptureRequest, {"amount": SENTINEL, "currency": SENTINEL, "idempotency_key": 7}
    ) == {
        "amount": "must be a JSON number in major units, such as 100.50",
        "currency": "must be an upper-case ISO 4217 code with minor units, such as USD",
        "idempotency_key": "must be a string",
    }
    assert errors_of(CaptureRequest, {}) == {"amount": "is required", "currency": "is required"}


def test_a_submission_needs_nothing() -> None:
    assert read(SubmitRequest, {}).idempotency_key is None
    assert read(SubmitRequest, {"idempotency_key": None}).idempotency_key is None


# ── Evidence ──────────────────────────────────────────────────────────────────────────────────────


def file_with(**fields: Any) -> dict[str, Any]:
    usual = {"file_id": "f-1", "name": "a.pdf", "content_type": "application/pdf", "size": 1}
    return {**usual, **fields}


def test_evidence_has_fields_or_files_or_both() -> None:
    both = read(EvidenceRequest, {"fields": {"note": "a\nb"}, "files": [file_with()]})
    assert both.fields == {"note": "a\nb"}
    assert [file.file_id for file in both.files or ()] == ["f-1"]
    assert read(EvidenceRequest, {"fields": {}}).files is None
    assert read(EvidenceRequest, {"files": []}).fields is None


@pytest.mark.parametrize("value", [{}, {"fields": None}, {"fields": None, "files": None}])
def test_evidence_without_both_is_refused(value: Any) -> None:
    assert errors_of(EvidenceRequest, value) == {"": "must have fields or files"}


def test_a_file_may_be_named_once() -> None:
    value = {"files": [file_with(), file_with(file_id="f-2"), file_with(name="other")]}
    assert errors_of(EvidenceRequest, value) == {"files": "must name each file_id once"}


WRONG_EVIDENCE: list[tuple[Any, dict[str, str]]] = [
    ({"fields": []}, {"fields": "must be a JSON object"}),
    ({"files": {}}, {"files": "must be a JSON array"}),
    (
        {"fields": {"a": 1, "b": None}},
        {"fields.a": "must be a string", "fields.b": "must be a string"},
    ),
    ({"fields": {"": "x"}}, {"fields": f"each name {LINE_RULE}"}),
    ({"fields": {SENTINEL + "\n": 1}}, {"fields": f"each name {LINE_RULE}"}),
    ({"fields": {SENTINEL * 99: "x"}}, {"fields": f"each name {LINE_RULE}"}),
    ({"fields": {"[key]": 1}}, {"fields.[key]": "must be a string"}),
    ({"fields": {f"k{n}": "" for n in range(257)}}, {"fields": "must have at most 256 entries"}),
    (
        {"files": [file_with(file_id=f"f-{n}") for n in range(257)]},
        {"files": "must have at most 256 entries"},
    ),
    ({"files": ["x", None]}, dict.fromkeys(["files.0", "files.1"], "must be a JSON object")),
    (
        {"files": [file_with(), {}]},
        dict.fromkeys([f"files.1.{name}" for name in file_with()], "is required"),
    ),
    ({"files": [file_with(size=-1)]}, {"files.0.size": "must be at least 0"}),
    ({"files": [file_with(size=10**16)]}, {"files.0.size": f"must be at most {10**15}"}),
    ({"files": [file_with(size=1.5)]}, {"files.0.size": "must be a whole number"}),
    ({"files": [file_with(size="1")]}, {"files.0.size": "must be a whole number"}),
    ({"files": [file_with(size=True)]}, {"files.0.size": "must be a whole number"}),
    (
        {"files": [file_with(name="", content_type="a\r\nb", file_id=7)]},
        {
            "files.0.file_id": "must be a string",
            "files.0.name": LINE_RULE,
            "files.0.content_type": LINE_RULE,
        },
    ),
    (
        {"fields": {"a": 1}, "files": [file_with(size=None)]},
        {"fields.a": "must be a string", "files.0.size": "must be a whole number"},
    ),
]


@pytest.mark.parametrize(("value", "wrong"), WRONG_EVIDENCE)
def test_evidence_that_is_refused(value: Any, wrong: dict[str, str]) -> None:
    assert errors_of(EvidenceRequest, value) == wrong


def test_a_whole_number_may_be_spelled_with_a_point() -> None:
    body = json.dumps({"files": [file_with(size=0)]}).replace('"size": 0', '"size": 2.0e1')
    files = check(EvidenceRequest, parse(body.encode())).files
    assert files is not None
    assert files[0].size == 20


# ── Answers ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("money", "spelled"),
    [
        (Money(10050, "USD"), b"100.50"),
        (Money(10000, "USD"), b"100.00"),
        (Money(1, "USD"), b"0.01"),
        (Money(100, "JPY"), b"100"),
        (Money(1, "KWD"), b"0.001"),
        (Money(10**15 - 1, "USD"), b"9999999999999.99"),
    ],
)
def test_amounts_are_answered_as_numbers_with_the_currencys_decimals(
    money: Money, spelled: bytes
) -> None:
    answer = CaptureAnswer("ord-1", to_decimal(money), money.currency, "pending", None, None, None)
    assert b'"amount":%b,' % spelled in encode(answer)


def test_an_answer_is_in_utc_with_nulls_for_what_is_not_known() -> None:
    at = datetime(2026, 1, 2, 10, 0, 0, 5, tzinfo=UTC)
    answer = json.loads(encode(HoldAnswer("ord-1", True, "risk", at)))
    assert answer == {
        "order_id": "ord-1",
        "on_hold": True,
        "reason": "risk",
        "updated_at": "2026-01-02T10:00:00.000005Z",
    }
    assert b'"updated_at":null' in encode(HoldAnswer("ord-1", False, None, None))
    assert json.loads(encode({"id": UUID(int=1), "n": Decimal("1.10")}), parse_float=str) == {
        "id": "00000000-0000-0000-0000-000000000001",
        "n": "1.10",
    }
