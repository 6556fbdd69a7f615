"""Money is exact or refused: every case of the gate, and that no number whatever gets around it."""

import runpy
import time
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_manager.domain.currencies import MINOR_UNITS
from payment_manager.domain.money import (
    MINOR_DIGITS_MAX,
    InvalidMoney,
    Money,
    exponent_of,
    faults,
    from_decimal,
    parse_amount,
    to_decimal,
)

ROOT = Path(__file__).parents[2]
ZEROS = "0" * 10_000
ARABIC_ONE = "\N{ARABIC-INDIC DIGIT ONE}"
FULLWIDTH_ONE = "\N{FULLWIDTH DIGIT ONE}"


@pytest.mark.parametrize(
    ("value", "currency", "minor"),
    [
        ("100.50", "USD", 10050),
        ("100.5", "USD", 10050),
        ("100.500", "USD", 10050),
        ("100", "USD", 10000),
        ("1E+2", "USD", 10000),
        ("1005E-1", "USD", 10050),
        ("0.01", "USD", 1),
        ("1.0", "JPY", 1),
        ("1E+2", "JPY", 100),
        ("1.234", "KWD", 1234),
        ("1.2345", "CLF", 12345),
        ("9999999999999.99", "USD", 999_999_999_999_999),
        ("999999999999999", "JPY", 999_999_999_999_999),
    ],
)
def test_the_value_counts_and_not_its_spelling(value: str, currency: str, minor: int) -> None:
    assert from_decimal(Decimal(value), currency) == Money(minor, currency)
    assert faults(Decimal(value), currency) == []


def test_ten_thousand_zeros_change_no_value() -> None:
    assert from_decimal(Decimal(f"1.{ZEROS}"), "USD") == Money(100, "USD")
    assert from_decimal(Decimal(f"1{ZEROS}E-10000"), "USD") == Money(100, "USD")


def test_an_integer_is_an_amount_of_major_units() -> None:
    assert from_decimal(100, "USD") == Money(10000, "USD")
    assert from_decimal(100, "JPY") == Money(100, "JPY")


@pytest.mark.parametrize(
    ("value", "currency", "field", "says"),
    [
        (Decimal("0"), "USD", "amount", "greater than zero"),
        (Decimal("0E+999999"), "USD", "amount", "greater than zero"),
        (Decimal("-0.00"), "USD", "amount", "greater than zero"),
        (Decimal("-1"), "USD", "amount", "greater than zero"),
        (Decimal("-1E+999999"), "USD", "amount", "greater than zero"),
        (0, "USD", "amount", "greater than zero"),
        (-1, "USD", "amount", "greater than zero"),
        (Decimal("NaN"), "USD", "amount", "finite"),
        (Decimal("sNaN"), "USD", "amount", "finite"),
        (Decimal("Infinity"), "USD", "amount", "finite"),
        (Decimal("-Infinity"), "JPY", "amount", "finite"),
        (Decimal("100.505"), "USD", "amount", "at most 2 decimals"),
        (Decimal("0.1"), "JPY", "amount", "at most 0 decimals"),
        (Decimal("1.2345"), "KWD", "amount", "at most 3 decimals"),
        (Decimal("1E-999999"), "USD", "amount", "at most 2 decimals"),
        (Decimal("0." + "1" * 30), "USD", "amount", "at most 2 decimals"),
        (Decimal("9999999999999.999"), "USD", "amount", "at most 2 decimals"),
        (Decimal("10000000000000.00"), "USD", "amount", "at most 15 digits"),
        (Decimal("1000000000000000"), "JPY", "amount", "at most 15 digits"),
        (Decimal("1e400"), "USD", "amount", "at most 15 digits"),
        (Decimal("1E+999999"), "USD", "amount", "at most 15 digits"),
        (10**13, "USD", "amount", "at most 15 digits"),
        (True, "USD", "amount", "a number"),
        (1.5, "USD", "amount", "a number"),
        ("1", "USD", "amount", "a number"),
        (None, "USD", "amount", "a number"),
        (Decimal("1"), "usd", "currency", "ISO 4217"),
        (Decimal("1"), "XAU", "currency", "ISO 4217"),
        (Decimal("1"), "XXX", "currency", "ISO 4217"),
        (Decimal("1"), "ZZZ", "currency", "ISO 4217"),
        (Decimal("1"), " USD", "currency", "ISO 4217"),
        (Decimal("1"), "", "currency", "ISO 4217"),
    ],
)
def test_what_is_no_money_is_refused_with_its_field(
    value: Any, currency: str, field: str, says: str
) -> None:
    with pytest.raises(InvalidMoney, match=says) as caught:
        from_decimal(value, currency)
    assert caught.value.field == field
    assert [(fault.field, str(fault)) for fault in faults(value, currency)] == [
        (field, str(caught.value))
    ]


def test_both_fields_are_named_at_once() -> None:
    assert [fault.field for fault in faults(Decimal("-1"), "usd")] == ["currency", "amount"]


@pytest.mark.parametrize("code", sorted(MINOR_UNITS))
def test_every_currency_is_written_with_its_own_number_of_decimals(code: str) -> None:
    exponent = MINOR_UNITS[code]
    assert exponent_of(code) == exponent
    written = str(to_decimal(Money(12345, code)))
    assert len(written.partition(".")[2]) == exponent
    assert from_decimal(Decimal(written), code) == Money(12345, code)


@pytest.mark.parametrize(
    "code", ["usd", "XAU", "XXX", "", "USDX", "\N{FULLWIDTH LATIN CAPITAL LETTER U}SD"]
)
def test_codes_without_minor_units_have_no_exponent(code: str) -> None:
    assert exponent_of(code) is None
    with pytest.raises(InvalidMoney):
        to_decimal(Money(1, code))


@pytest.mark.parametrize("text", ["0", "-0", "1", "10.50", "1e2", "1E+2", "1.5e-3", "-12.0"])
def test_a_json_number_is_parsed(text: str) -> None:
    assert parse_amount(text) == Decimal(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "NaN", "nan", "Infinity", "-Infinity", "+1", "--1", " 1", "1 ", "1\n", "1\0"),
        *("1_000", "1,5", "01", "00", ".5", "5.", "1e", "1e+", "0x10", "$1"),
        *(FULLWIDTH_ONE, f"1{ARABIC_ONE}", "1e99999999999999999999"),
    ],
)
def test_what_is_no_json_number_is_not_parsed(text: str) -> None:
    assert parse_amount(text) is None


decimals = st.one_of(
    st.decimals(allow_nan=True, allow_infinity=True),
    st.decimals(min_value=0, max_value=10**14, places=2),
    st.builds(
        lambda sign, digits, exponent: Decimal((sign, digits, exponent)),
        st.integers(0, 1),
        st.lists(st.integers(0, 9), max_size=40).map(tuple),
        st.integers(-1_000_000, 1_000_000) | st.integers(-30, 30),
    ),
)


@given(decimals, st.sampled_from(sorted(MINOR_UNITS)))
def test_a_decimal_is_exact_money_or_invalid_money(value: Decimal, currency: str) -> None:
    expected = _minor_by_integer_arithmetic(value, currency)
    try:
        money = from_decimal(value, currency)
    except InvalidMoney:
        assert expected is None
        assert faults(value, currency)
    else:
        assert money.minor == expected
        assert not faults(value, currency)
        assert to_decimal(money) == value


def _minor_by_integer_arithmetic(value: Decimal, currency: str) -> int | None:
    if not value.is_finite() or value <= 0 or value.adjusted() > 2 * MINOR_DIGITS_MAX:
        return None
    if value.adjusted() < -MINOR_DIGITS_MAX:
        return None
    minor = Fraction(*value.as_integer_ratio()) * Fraction(10) ** MINOR_UNITS[currency]
    if minor.denominator != 1 or minor >= 10**MINOR_DIGITS_MAX:
        return None
    return minor.numerator


@given(st.integers(1, 10**MINOR_DIGITS_MAX - 1), st.sampled_from(sorted(MINOR_UNITS)))
def test_money_survives_the_way_out_and_back(minor: int, currency: str) -> None:
    money = Money(minor, currency)
    assert from_decimal(to_decimal(money), currency) == money
    assert from_decimal(parse_amount(str(to_decimal(money))) or 0, currency) == money


@given(
    st.text(alphabet=f"0123456789.eE+-NaInf_ {ARABIC_ONE}{FULLWIDTH_ONE}", max_size=12)
    | st.text(max_size=6)
)
def test_parsing_never_raises_and_takes_only_ascii(text: str) -> None:
    value = parse_amount(text)
    if value is not None:
        assert text.isascii()
        assert value.is_finite()
        assert value == Decimal(text)


def test_the_callers_decimal_context_changes_nothing() -> None:
    with localcontext(Context(prec=2)):
        assert from_decimal(Decimal("12345.67"), "USD") == Money(1234567, "USD")
        assert str(to_decimal(Money(1234567, "USD"))) == "12345.67"
        assert parse_amount("12345.67") == Decimal("12345.67")


@pytest.mark.parametrize(
    "text",
    ["9" * 200_000, "1." + "0" * 200_000 + "1", "1e999999999999", "1e-999999999999"],
    ids=["nines", "zeros", "huge exponent", "tiny exponent"],
)
def test_a_hostile_number_costs_milliseconds(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(InvalidMoney):
        from_decimal(parse_amount(text) or 0, "USD")
    assert time.perf_counter() - start < 0.5  # by expanding the number it would take minutes


def test_a_hostile_integer_is_refused() -> None:
    with pytest.raises(InvalidMoney, match="at most 15 digits"):
        from_decimal(10**100_000, "USD")


def test_the_committed_table_is_what_the_standard_says() -> None:
    generator = runpy.run_path(str(ROOT / "scripts" / "generate_currencies.py"))
    committed = generator["TABLE"].read_text(encoding="utf-8")
    assert committed == generator["render"](), "run: python scripts/generate_currencies.py"
