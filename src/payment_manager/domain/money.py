"""Money: an integer number of minor units and an ISO 4217 code, never a float.

How to think about it: decimals live at the edges only. `from_decimal` is the one gate from a
number that somebody sent to a `Money`: it finds the exact integer or raises `InvalidMoney`, and
rounds nothing. `to_decimal` goes back, with exactly the currency's number of decimals.
"""

import re
from dataclasses import dataclass
from decimal import (
    MAX_EMAX,
    MAX_PREC,
    MIN_EMIN,
    ROUND_DOWN,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
)
from typing import Literal

from payment_manager.domain.currencies import MINOR_UNITS

# A double holds each exactly, for readers who know nothing better; a bigint holds sums of them.
MINOR_DIGITS_MAX = 15

_MINOR_LIMIT = 10**MINOR_DIGITS_MAX

# Quantizing in this context is exact or it raises: `Inexact` where a digit other than zero would be
# cut, `InvalidOperation` where the result would need more digits. It compares exponents before it
# expands anything, so 1E+999999 costs as little as 1. ROUND_DOWN, so that no carry adds a digit.
_EXACT = Context(
    prec=MINOR_DIGITS_MAX,
    rounding=ROUND_DOWN,
    Emin=MIN_EMIN,
    Emax=MAX_EMAX,
    traps=[Inexact, InvalidOperation],
)
# For what is exact by construction, whatever the calling thread's own context says.
_WIDE = Context(prec=MAX_PREC, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[Inexact, InvalidOperation])

# code -> (exponent, the smallest unit): one look-up on the path of every webhook.
_UNITS = {code: (exponent, Decimal((0, (1,), -exponent))) for code, exponent in MINOR_UNITS.items()}

_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Money:
    """`minor` units of `currency`: 100.50 USD is `Money(10050, "USD")`."""

    minor: int
    currency: str


class InvalidMoney(ValueError):
    """Not an amount of money. Its text is for people and repeats nothing of what was sent."""

    def __init__(self, field: Literal["amount", "currency"], message: str) -> None:
        super().__init__(message)
        self.field = field


def exponent_of(currency: str) -> int | None:
    """The currency's number of decimals.

    None for all that isn't the upper-case code of a currency with minor units: `usd`, `XAU`.
    """
    return MINOR_UNITS.get(currency)


def from_decimal(value: Decimal | int, currency: str) -> Money:
    """The exact money, or `InvalidMoney`.

    The value counts, not its spelling: 100.500 USD and JPY 1E+2 are fine. Safe for any decimal that
    can exist: the time is linear in its digits, whatever its exponent.
    """
    unit = _UNITS.get(currency)
    if unit is not None:
        exponent, smallest = unit
        if isinstance(value, Decimal):
            try:
                minor = int(_EXACT.scaleb(_EXACT.quantize(value, smallest), exponent))
            except (Inexact, InvalidOperation, ValueError):  # ValueError: no integer is a NaN
                minor = 0
        else:
            minor = value * 10**exponent if type(value) is int else 0  # a bool is no number here
        if 0 < minor < _MINOR_LIMIT:
            return Money(minor, currency)
    raise faults(value, currency)[0]


def faults(value: Decimal | int, currency: str) -> list[InvalidMoney]:
    """All that is wrong, one entry a field, for answers that name every wrong field at once.

    Empty exactly where `from_decimal` gives money. Not on the hot path.
    """
    found = []
    unit = _UNITS.get(currency)
    if unit is None:
        found.append(
            InvalidMoney("currency", "must be an upper-case ISO 4217 code with minor units")
        )
    message = _fault_of_amount(value, unit)
    if message is not None:
        found.append(InvalidMoney("amount", message))
    return found


def _fault_of_amount(value: Decimal | int, unit: tuple[int, Decimal] | None) -> str | None:
    if isinstance(value, bool) or not isinstance(value, Decimal | int):
        return "must be a number"
    if isinstance(value, Decimal) and not value.is_finite():
        return "must be a finite number"
    if value <= 0:
        return "must be greater than zero"
    if unit is None:
        return None  # how many digits are too many depends on the currency
    exponent, smallest = unit
    too_large = f"must have at most {MINOR_DIGITS_MAX} digits, counted in the smallest unit"
    if isinstance(value, int):
        return too_large if value * 10**exponent >= _MINOR_LIMIT else None
    try:
        _EXACT.quantize(value, smallest)
    except Inexact:
        return f"must have at most {exponent} decimals in this currency"
    except InvalidOperation:
        return too_large
    return None


def to_decimal(money: Money) -> Decimal:
    """In major units, with exactly the currency's number of decimals: 100.50, JPY 100, KWD 1.234.

    Raises `InvalidMoney` for a code that `from_decimal` would not have let in.
    """
    exponent = MINOR_UNITS.get(money.currency)
    if exponent is None:
        raise faults(1, money.currency)[0]
    return _WIDE.scaleb(Decimal(money.minor), -exponent)


def parse_amount(text: str) -> Decimal | None:
    """The number that `text` spells in JSON's grammar (RFC 8259 §6); None for anything else.

    ASCII digits only, no blanks. Also None where the exponent is beyond what a decimal can hold.
    """
    if _JSON_NUMBER.fullmatch(text) is None:
        return None
    try:
        return _WIDE.create_decimal(text)
    except (Inexact, InvalidOperation):
        return None
