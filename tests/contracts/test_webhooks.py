"""Webhooks on the wire: what is let in, what is refused, and in which words.

How to think about it: a table a field. `taken` and `refused` send a webhook that differs in nothing
but the field of the case; a refusal names that field, its rule, and nothing that was sent.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_manager.contracts.commands import chargeback_notice, order_snapshot
from payment_manager.contracts.webhooks import (
    ChargebackWebhook,
    OrderWebhook,
    Received,
    read_chargeback_webhook,
    read_order_webhook,
)
from payment_manager.contracts.wire import FieldError, InvalidInput
from payment_manager.domain.dispute import DisputeStatus, NoticeStatus
from payment_manager.domain.money import Money
from payment_manager.domain.order import OrderStatus
from tests.webhooks import ANN, chargeback_webhook, order_webhook

# What would be a leak of what was sent, wherever it turned up in an answer.
SENTINEL = "s3ntinel"

ORDER = json.loads(order_webhook(provider_event_id="evt-1"))
CHARGEBACK = json.loads(chargeback_webhook(provider_event_id="evt-9"))


def order_with(**fields: Any) -> Received[OrderWebhook]:
    return read_order_webhook(json.dumps({**ORDER, **fields}).encode())


def chargeback_with(**fields: Any) -> Received[ChargebackWebhook]:
    return read_chargeback_webhook(json.dumps({**CHARGEBACK, **fields}).encode())


def with_amount(spelled: str, currency: str = "USD") -> bytes:
    """The amount exactly as it is spelled here; `json` would go through a float."""
    body = json.dumps({**CHARGEBACK, "amount": 0, "currency": currency})
    return body.replace('"amount": 0', f'"amount": {spelled}').encode()


def errors_of(read: Any, *given: Any, **fields: Any) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refused:
        read(*given, **fields)
    errors = {error.field: error.message for error in refused.value.errors}
    assert len(errors) == len(refused.value.errors)  # one entry each
    assert SENTINEL not in str(refused.value)
    for message in errors.values():
        assert message.startswith(("must ", "is ", "each name must "))
    return errors


def refusal_of(read: Any, **fields: Any) -> Sequence[FieldError]:
    """Empty where it is taken."""
    try:
        _ = read(**fields).wire.amount
    except InvalidInput as refused:
        return refused.errors
    return ()


# ── The whole ─────────────────────────────────────────────────────────────────────────────────────


def test_an_order_webhook_becomes_a_snapshot() -> None:
    body = order_webhook("ord-1", "updated", 5, provider_event_id="evt-1")
    snapshot = order_snapshot(read_order_webhook(body))
    assert (snapshot.provider_event_id, snapshot.order_id) == ("evt-1", "ord-1")
    assert (snapshot.user_id, snapshot.status) == (UUID(ANN), OrderStatus.UPDATED)
    assert snapshot.created_at == datetime(2026, 1, 2, 10, tzinfo=UTC)
    assert snapshot.updated_at == datetime(2026, 1, 2, 10, 5, tzinfo=UTC)
    assert (snapshot.amount, snapshot.payload) == (Money(10050, "USD"), body)


def test_a_chargeback_webhook_becomes_a_notice() -> None:
    body = chargeback_webhook("ord-1", "opened", 5, evidence_due_at="2026-01-30T00:00:00Z")
    notice = chargeback_notice(read_chargeback_webhook(body))
    assert (notice.order_id, notice.user_id) == ("ord-1", UUID(ANN))
    assert (notice.status, notice.decision) == (NoticeStatus.OPENED, None)
    assert (notice.reason, notice.amount) == ("fraud", Money(10050, "USD"))
    assert notice.occurred_at == datetime(2026, 1, 2, 10, 5, tzinfo=UTC)
    assert notice.evidence_due_at == datetime(2026, 1, 30, tzinfo=UTC)
    assert notice.payload == body


@pytest.mark.parametrize("status", OrderStatus)
def test_an_order_has_four_statuses(status: OrderStatus) -> None:
    assert order_snapshot(order_with(status=status)).status is status


def test_the_payload_is_kept_byte_for_byte_and_blanks_around_it_are_not_part_of_it() -> None:
    inner = b'{ "provider_event_id":"x",\n' + order_webhook(unknown=[1.50])[1:]
    for read in (read_order_webhook(inner), read_order_webhook(b" \r\n\t" + inner + b"\n")):
        assert read.payload == inner


def test_of_a_repeated_field_the_last_counts_even_if_the_first_is_wrong() -> None:
    order = json.dumps(ORDER).encode()
    assert read_order_webhook(b'{"status":7,"meta":7,' + order[1:]).wire == order_with().wire
    assert set(errors_of(read_order_webhook, order[:-1] + b',"status":7}')) == {"status"}


def test_unknown_fields_are_ignored() -> None:
    taken = order_with(order_ID="x", amount=-1, errors=[None])
    assert taken.wire == order_with().wire
    assert taken.content_hash != order_with().content_hash


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null", b"true", b'[{"order_id":"x"}]'])
@pytest.mark.parametrize("read", [read_order_webhook, read_chargeback_webhook])
def test_what_is_no_object_is_refused_as_a_whole(read: Any, body: bytes) -> None:
    assert errors_of(read, body) == {"": "must be a JSON object"}


@pytest.mark.parametrize(
    ("read", "body", "optional"),
    [
        (read_order_webhook, ORDER, {"meta"}),
        (read_chargeback_webhook, CHARGEBACK, {"meta", "evidence_due_at"}),
    ],
)
def test_each_field_is_required_but_the_optional_ones(
    read: Any, body: dict[str, Any], optional: set[str]
) -> None:
    required = set(body) - optional
    assert errors_of(read, b"{}") == dict.fromkeys(required, "is required")
    for field in optional & set(body):
        assert read(json.dumps({k: v for k, v in body.items() if k != field}).encode())
    for field in required:
        assert set(errors_of(read, json.dumps({**body, field: None}).encode())) == {field}


def test_all_wrong_fields_are_named_at_once() -> None:
    wrong = {
        "provider_event_id": f"{SENTINEL} x",
        "order_id": f"/{SENTINEL}",
        "user_id": SENTINEL,
        "status": SENTINEL,
        "created_at": SENTINEL,
        "updated_at": f"2026-13-01T00:00:00Z{SENTINEL}",
        "meta": [SENTINEL],
    }
    assert errors_of(order_with, **wrong) == {
        "provider_event_id": "must be 1 to 255 printable ASCII characters without spaces",
        "order_id": "must be 1 to 255 letters, digits or . _ : ~ @ = + -,"
        " beginning with a letter or digit",
        "user_id": "must be a UUID, such as 11111111-1111-1111-1111-111111111111",
        "status": "must be 'created', 'updated', 'failed' or 'success'",
        "created_at": "must be an RFC 3339 time with an offset, such as 2026-01-02T10:00:00Z",
        "updated_at": "must be an RFC 3339 time with an offset, such as 2026-01-02T10:00:00Z",
        "meta": "must be a JSON object",
    }


def test_a_nested_field_is_named_with_its_path_beside_all_others() -> None:
    wrong = {
        "status": "closed",
        "reason": f"{SENTINEL}\n",
        "amount": SENTINEL,
        "currency": SENTINEL,
        "occurred_at": 0,
        "evidence_due_at": SENTINEL,
        "meta": {"resolution": SENTINEL},
    }
    assert errors_of(chargeback_with, **wrong) == {
        "reason": "must be 1 to 255 characters without control characters",
        "amount": "must be a JSON number in major units, such as 100.50",
        "currency": "must be an upper-case ISO 4217 code with minor units, such as USD",
        "occurred_at": "must be an RFC 3339 time with an offset, such as 2026-01-02T10:00:00Z",
        "evidence_due_at": "must be an RFC 3339 time with an offset, such as 2026-01-02T10:00:00Z",
        "meta.resolution": "must be one of won, lost, canceled",
    }


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just(SENTINEL),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(sorted(CHARGEBACK)), JSON_VALUES, min_size=1))
def test_whatever_stands_in_a_field_is_taken_or_refused_with_that_fields_name(
    fields: dict[str, Any],
) -> None:
    refused = refusal_of(chargeback_with, **fields)
    named = {error.field.split(".")[0] for error in refused} - {""}
    assert named <= {*fields, "amount"}  # an amount is read in its currency
    assert SENTINEL not in str(refused)


# ── Ids ───────────────────────────────────────────────────────────────────────────────────────────

GOOD_ORDER_IDS = ["a", "0", "A-._:~@=+-z", "x" * 255, "event", "eventss", "EVENTS"]
BAD_ORDER_IDS = [
    "", "events", "-a", ".a", "_a", "a b", "a/b", "a\n", "\na", "ä", "１", "a,b", "a%20", "x" * 256,
    1, None, True, ["a"], {"a": 1},
]  # fmt: skip


@pytest.mark.parametrize("order_id", GOOD_ORDER_IDS)
def test_an_order_id_that_is_taken(order_id: str) -> None:
    assert order_with(order_id=order_id).wire.order_id == order_id


@pytest.mark.parametrize("order_id", BAD_ORDER_IDS)
def test_an_order_id_that_is_refused(order_id: Any) -> None:
    assert set(errors_of(order_with, order_id=order_id)) == {"order_id"}


@pytest.mark.parametrize("id", ["e", "x" * 255, "".join(map(chr, range(33, 127)))])
def test_a_webhooks_id_that_is_taken(id: str) -> None:
    assert order_with(provider_event_id=id).wire.provider_event_id == id


@pytest.mark.parametrize("id", ["", " ", "a b", "a\n", "é", "\x7f", "x" * 256, 1, None, []])
def test_a_webhooks_id_that_is_refused(id: Any) -> None:
    assert set(errors_of(order_with, provider_event_id=id)) == {"provider_event_id"}


@pytest.mark.parametrize("user_id", [ANN, "AAAAAAAA-bbbb-4CCC-8ddd-eeeeeeeeeeee", str(UUID(int=0))])
def test_a_user_id_that_is_taken(user_id: str) -> None:
    assert order_with(user_id=user_id).wire.user_id == UUID(user_id)


@pytest.mark.parametrize(
    "user_id",
    [
        "", ANN[:-1], ANN + "1", ANN.replace("-", ""), f"{{{ANN[2:]}}}", f"urn:uuid:{ANN}",
        ANN[:-1] + "g", ANN[:-1] + "\n", " " + ANN[1:], "１" + ANN[1:], 1, None, [ANN],
    ],
)  # fmt: skip
def test_a_user_id_that_is_refused(user_id: Any) -> None:
    assert set(errors_of(order_with, user_id=user_id)) == {"user_id"}


@pytest.mark.parametrize("reason", ["f", "Fraud, 4837 – naïve \u2028 😀", "x" * 255])
def test_a_reason_that_is_taken(reason: str) -> None:
    assert chargeback_with(reason=reason).wire.reason == reason


@pytest.mark.parametrize("reason", ["", "a\n", "\ta", "a\x7f", "a\x9fb", "x" * 256, 1, None])
def test_a_reason_that_is_refused(reason: Any) -> None:
    assert set(errors_of(chargeback_with, reason=reason)) == {"reason"}


# ── Times ─────────────────────────────────────────────────────────────────────────────────────────

GOOD_TIMES = {
    "2026-01-02T10:00:00Z": "2026-01-02T10:00:00",
    "2026-01-02t10:00:00z": "2026-01-02T10:00:00",
    "2026-01-02 10:00:00Z": "2026-01-02T10:00:00",
    "2026-01-02T10:00:00+02:00": "2026-01-02T08:00:00",
    "2026-01-02T10:00:00-23:59": "2026-01-03T09:59:00",
    "2026-01-02T10:00:00-00:00": "2026-01-02T10:00:00",
    "2026-01-02T10:00:00.5Z": "2026-01-02T10:00:00.500000",
    "2026-01-02T10:00:00.1234567Z": "2026-01-02T10:00:00.123456",
    "2026-12-31T23:59:59.9999999999999999Z": "2026-12-31T23:59:59.999999",  # cut, not rounded
    "2024-02-29T00:00:00Z": "2024-02-29T00:00:00",
    "1970-01-01T00:00:00Z": "1970-01-01T00:00:00",
    "1969-12-31T23:00:00-01:00": "1970-01-01T00:00:00",
    "2100-12-31T23:59:59.999999Z": "2100-12-31T23:59:59.999999",
    "2101-01-01T00:00:00+01:00": "2100-12-31T23:00:00",
}
BAD_TIMES: dict[str, list[Any]] = {
    "must be an RFC 3339 time with an offset, such as 2026-01-02T10:00:00Z": [
        "", "2026-01-02", "2026-01-02T10:00:00", "2026-01-02T10:00Z", "2026-01-02T10:00:00+0200",
        "2026-01-02T10:00:00+02", "2026-01-02T10:00:00.Z", "2026-01-02T10:00:00,5Z",
        "20260102T100000Z", "2026-1-2T10:00:00Z", "2026-W01-1T10:00:00Z", "2026-002T10:00:00Z",
        " 2026-01-02T10:00:00Z", "2026-01-02T10:00:00Z\n", "2026-01-02T10:00:00 Z",
        "２０２６-01-02T10:00:00Z", "2026-01-02T10:00:00−02:00", "+2026-01-02T10:00:00Z",
        "-2026-01-02T10:00:00Z", "02026-01-02T10:00:00Z", "now", 1767348000, 1.5, None, True, [],
    ],
    "must be a time that exists": [
        "2026-02-29T00:00:00Z", "2026-00-01T00:00:00Z", "2026-13-01T00:00:00Z",
        "2026-01-32T00:00:00Z", "2026-01-02T24:00:00Z", "2026-01-02T10:60:00Z",
        "2016-12-31T23:59:60Z", "2026-01-02T10:00:00+24:00", "2026-01-02T10:00:00+10:60",
        "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00",
    ],
    "must lie in the years 1970 to 2100": [
        "1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00+01:00", "2101-01-01T00:00:00Z",
        "2100-12-31T23:59:59-01:00", "1000-01-01T00:00:00Z",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("spelled", "utc"), GOOD_TIMES.items())
def test_a_time_that_is_taken(spelled: str, utc: str) -> None:
    read = order_with(created_at=spelled).wire.created_at
    assert read == datetime.fromisoformat(utc).replace(tzinfo=UTC)
    assert read.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("spelled", "message"),
    [(bad, message) for message, times in BAD_TIMES.items() for bad in times],
)
def test_a_time_that_is_refused(spelled: Any, message: str) -> None:
    assert errors_of(order_with, updated_at=spelled) == {"updated_at": message}


OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m)))


@given(st.datetimes(datetime(1970, 1, 3), datetime(2100, 12, 29), timezones=OFFSETS))  # noqa: DTZ001
def test_any_time_in_these_years_is_read_exactly(moment: datetime) -> None:
    assert order_with(created_at=moment.isoformat()).wire.created_at == moment


def test_evidence_may_have_no_due_time() -> None:
    assert chargeback_with(evidence_due_at=None).wire.evidence_due_at is None


# ── Money ─────────────────────────────────────────────────────────────────────────────────────────

GOOD_MONEY = {
    ("100.5", "USD"): 10050,
    ("100.50", "USD"): 10050,
    ("100.500", "USD"): 10050,
    ("1.005e2", "USD"): 10050,
    ("10050E-2", "USD"): 10050,
    ("0.01", "USD"): 1,
    ("1.0", "JPY"): 1,
    ("1e3", "JPY"): 1000,
    ("1.234", "KWD"): 1234,
    ("9999999999999.99", "USD"): 999999999999999,
    ("999999999999999", "JPY"): 999999999999999,
    ("0.1000000000000000000000000000000000000", "USD"): 10,
}
BAD_MONEY = {
    ("0", "USD"): "must be greater than zero",
    ("-0", "USD"): "must be greater than zero",
    ("0.00", "USD"): "must be greater than zero",
    ("-1", "USD"): "must be greater than zero",
    ("-1e400", "USD"): "must be greater than zero",
    ("1.001", "USD"): "must have at most 2 decimals in this currency",
    ("0.1", "JPY"): "must have at most 0 decimals in this currency",
    ("1.2345", "KWD"): "must have at most 3 decimals in this currency",
    ("1e-400", "USD"): "must have at most 2 decimals in this currency",
    ("10000000000000.00", "USD"): "must have at most 15 digits, counted in the smallest unit",
    ("1000000000000000", "JPY"): "must have at most 15 digits, counted in the smallest unit",
    ("123456789012345678901234567890", "USD"): (
        "must have at most 15 digits, counted in the smallest unit"
    ),
    ("1e400", "USD"): "must have at most 15 digits, counted in the smallest unit",
    ('"100.50"', "USD"): "must be a JSON number in major units, such as 100.50",
    ('"NaN"', "USD"): "must be a JSON number in major units, such as 100.50",
    ("true", "USD"): "must be a JSON number in major units, such as 100.50",
    ("null", "USD"): "must be a JSON number in major units, such as 100.50",
    ("[1]", "USD"): "must be a JSON number in major units, such as 100.50",
    ("{}", "USD"): "must be a JSON number in major units, such as 100.50",
}
BAD_CURRENCIES = ["", "usd", "Usd", "USD ", "US", "USDX", "XAU", "XXX", "ZZZ", "840", "ＵＳＤ", "€",
                  840, None, True, ["USD"], {"code": "USD"}]  # fmt: skip


@pytest.mark.parametrize(("sent", "minor"), GOOD_MONEY.items())
def test_money_that_is_taken(sent: tuple[str, str], minor: int) -> None:
    taken = read_chargeback_webhook(with_amount(*sent))
    assert taken.wire.amount == Money(minor, sent[1])


@pytest.mark.parametrize(("sent", "message"), BAD_MONEY.items())
def test_money_that_is_refused(sent: tuple[str, str], message: str) -> None:
    assert errors_of(read_chargeback_webhook, with_amount(*sent)) == {"amount": message}


@pytest.mark.parametrize("currency", BAD_CURRENCIES)
def test_a_currency_that_is_refused(currency: Any) -> None:
    message = "must be an upper-case ISO 4217 code with minor units, such as USD"
    assert errors_of(chargeback_with, currency=currency) == {"currency": message}


def test_a_wrong_currency_does_not_hide_a_wrong_amount() -> None:
    assert errors_of(read_chargeback_webhook, with_amount("-1", "usd")) == {
        "amount": "must be greater than zero",
        "currency": "must be an upper-case ISO 4217 code with minor units, such as USD",
    }


@given(st.integers(1, 10**15 - 1), st.integers(0, 40))
def test_any_amount_is_exact_however_it_is_spelled(minor: int, zeros: int) -> None:
    for spelled in (f"{Decimal(minor).scaleb(-2):f}", f"{minor}{'0' * zeros}e{-2 - zeros}"):
        assert read_chargeback_webhook(with_amount(spelled)).wire.amount == Money(minor, "USD")


# ── Meta ──────────────────────────────────────────────────────────────────────────────────────────


def test_meta_has_at_most_64_keys() -> None:
    full = {f"k{n}": n for n in range(64)}
    assert len(order_with(meta=full).wire.meta) == 64
    errors = errors_of(order_with, meta={**full, SENTINEL: 1})
    assert errors == {"meta": "must have at most 64 entries"}


@pytest.mark.parametrize("meta", [None, [], "x", 1, True])
def test_meta_is_an_object(meta: Any) -> None:
    assert errors_of(order_with, meta=meta) == {"meta": "must be a JSON object"}


META_AMOUNTS: list[tuple[dict[str, Any], Money | None]] = [
    ({"amount": "100.50", "currency": "USD"}, Money(10050, "USD")),
    ({"amount": "1.005e2", "currency": "USD"}, Money(10050, "USD")),
    ({"amount": 100, "currency": "USD"}, Money(10000, "USD")),
    ({"amount": 100.5, "currency": "USD"}, Money(10050, "USD")),
    ({"amount": "1.0", "currency": "JPY"}, Money(1, "JPY")),
    ({}, None),
    ({"amount": "100.50"}, None),
    ({"currency": "USD"}, None),
    ({"amount": "100.50", "currency": "usd"}, None),
    ({"amount": "100.50", "currency": "XAU"}, None),
    ({"amount": "100.50", "currency": 840}, None),
    ({"amount": "100.50", "currency": ["USD"]}, None),
    *(
        ({"amount": amount, "currency": "USD"}, None)
        for amount in [
            "", " 1", "1 ", "1\n", "+1", "01", "1.", ".5", "1,000", "1_000", "NaN", "Infinity",
            "-1", "0", "1.001", "1e400", "1e999999999999999999999", "１", "9" * 20, "9" * 10_000,
            0, -1, 1.001, 10**20, True, False, None, [1], {"a": 1},
        ]
    ),
]  # fmt: skip


@pytest.mark.parametrize(("meta", "amount"), META_AMOUNTS)
def test_metas_amount_is_money_or_nothing_and_never_a_refusal(
    meta: dict[str, Any], amount: Money | None
) -> None:
    assert order_with(meta=meta).wire.amount == amount


@given(st.fixed_dictionaries({"amount": JSON_VALUES, "currency": JSON_VALUES | st.just("USD")}))
def test_no_meta_is_refused_for_its_amount(meta: dict[str, Any]) -> None:
    refused = refusal_of(order_with, meta=meta)
    assert {error.field for error in refused} <= {""}  # NUL, wherever it stands


# ── Resolution ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("resolution", ["won", "lost", "canceled"])
def test_a_resolution_in_any_letter_case_decides(resolution: str) -> None:
    for spelled in (resolution, resolution.upper(), resolution.title(), resolution.swapcase()):
        notice = chargeback_notice(
            chargeback_with(status="closed", meta={"resolution": spelled, "more": 1})
        )
        assert notice.decision == DisputeStatus(resolution)


@pytest.mark.parametrize("fields", [{}, {"meta": {}}, {"meta": {"Resolution": "won"}}])
def test_without_a_resolution_it_is_a_plain_closed(fields: dict[str, Any]) -> None:
    assert chargeback_notice(chargeback_with(status="closed", **fields)).decision == "closed"


@pytest.mark.parametrize(
    "resolution", ["", "closed", "won ", "cancelled", "ＷＯＮ", "LOſT", None, 1, True, ["won"], {}]
)
def test_any_other_resolution_is_refused(resolution: Any) -> None:
    errors = errors_of(chargeback_with, status="closed", meta={"resolution": resolution})
    assert errors == {"meta.resolution": "must be one of won, lost, canceled"}


@pytest.mark.parametrize("status", ["opened", "updated"])
@pytest.mark.parametrize("resolution", ["won", "nonsense", None])
def test_only_a_closing_webhook_has_a_resolution(status: str, resolution: Any) -> None:
    notice = chargeback_notice(chargeback_with(status=status, meta={"resolution": resolution}))
    assert notice.decision is None
