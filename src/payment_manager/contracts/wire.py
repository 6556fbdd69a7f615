"""Bytes to values: the one place where JSON is read, and the field types that every request shares.

How to think about it: `parse` is strict about text and exact about numbers, so that nothing behind it can meet NUL, half
a surrogate pair or a rounded amount. `check` holds a parsed value against a model and names all wrong fields at once.
Two spellings of one JSON value (key order, white space, 100.5 and 100.50) have the same `content_hash`.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)

DEPTH_MAX = 64
"""Real payloads stay below ten; a limit of our own keeps what is accepted independent of the interpreter's stack."""

_EXPANDED_DIGITS_MAX = 64
"""Up to here 1e3 and 1000 are made the same integer; beyond, an exponent could ask for gigabytes of zeros."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """`field` is a path such as `meta.resolution`; empty for the body as a whole."""

    field: str
    message: str


class InvalidInput(ValueError):
    """The request is not what the contract says. The messages never repeat what was sent."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _exact(text: str) -> int | Decimal:
    """The number without trailing zeros, an integer where it is one: equal values become equal objects."""
    number = Decimal(text)
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)  # JSON's grammar knows no NaN and no infinity
    end = len(digits)
    while end > 1 and digits[end - 1] == 0:
        end -= 1
    exponent += len(digits) - end
    if digits[:end] == (0,):
        return 0
    if exponent >= 0 and end + exponent <= _EXPANDED_DIGITS_MAX:
        return int(Decimal((sign, digits[:end], exponent)))
    return Decimal((sign, digits[:end], exponent))


_decoder = msgspec.json.Decoder(float_hook=_exact)
_canonical = msgspec.json.Encoder(order="deterministic", decimal_format="number")


def parse(body: bytes) -> Any:
    """The JSON value of `body`; numbers are `int` or exact `Decimal`, of a repeated key the last counts.

    Raises `InvalidInput` for what is not JSON in UTF-8, for NUL or a lone surrogate anywhere, for nesting deeper than
    `DEPTH_MAX` and for numbers beyond what a decimal can hold.
    """
    try:
        value = _decoder.decode(body)
        # Counting bytes is free; only what looks suspicious is walked.
        if body.count(b"[") + body.count(b"{") > DEPTH_MAX or b"\\u0000" in body:
            _walk(value)
        return value
    except RecursionError:
        raise InvalidInput(FieldError("", f"must be nested at most {DEPTH_MAX} deep")) from None
    except InvalidOperation:
        raise InvalidInput(FieldError("", "must have no number with such an exponent")) from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise InvalidInput(FieldError("", "must be JSON in UTF-8")) from None


def _walk(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH_MAX + 1):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(item.keys())
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
            elif isinstance(item, str) and "\0" in item:
                raise InvalidInput(FieldError("", "must hold no NUL character"))
        if not below:
            return
        level = below
    raise InvalidInput(FieldError("", f"must be nested at most {DEPTH_MAX} deep"))


def content_hash(value: Any) -> bytes:
    """16 bytes, equal exactly for equal JSON values (as `parse` gives them)."""
    return hashlib.blake2b(_canonical.encode(value), digest_size=16).digest()


# ── Fields ────────────────────────────────────────────────────────────────────────────────────────────────────────

_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_AFTER_LATEST = datetime(2101, 1, 1, tzinfo=UTC)


def instant(value: object) -> datetime:
    """RFC 3339 with an offset, years 1970-2100, as UTC; finer than microseconds is cut. Raises `ValueError`."""
    if not isinstance(value, str) or (parts := _RFC3339.fullmatch(value)) is None:
        raise ValueError("must be an RFC 3339 time with an offset, such as 2026-01-02T10:00:00Z")
    date, time, fraction, offset = parts.groups()
    try:
        # Cut by hand: the decoder would round, and a rounded 23:59:59.9999999 is another day.
        moment = msgspec.convert(f"{date}T{time}{(fraction or '')[:7]}{offset}", datetime)
        moment = moment.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        raise ValueError("must be a time that exists") from None
    if not _EARLIEST <= moment < _AFTER_LATEST:
        raise ValueError("must lie in the years 1970 to 2100")
    return moment


def uuid(value: object) -> UUID:
    """A UUID in its usual spelling. Raises `ValueError`."""
    try:
        if isinstance(value, str) and len(value) == 36:
            return msgspec.convert(value, UUID)
    except msgspec.ValidationError:
        pass
    raise ValueError("must be a UUID, such as 11111111-1111-1111-1111-111111111111")


def _not_reserved(order_id: str) -> str:
    if order_id == "events":
        raise ValueError("must not be 'events', which is a route")
    return order_id


Instant = Annotated[
    datetime, BeforeValidator(instant), WithJsonSchema({"type": "string", "format": "date-time"})
]
UserId = Annotated[UUID, BeforeValidator(uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
ProviderEventId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,255}$")]
OrderId = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:~@=+-]{0,254}$"),
    AfterValidator(_not_reserved),
]
# \x00-\x1f, \x7f-\x9f: the control characters of Unicode (category Cc).
Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]{1,255}$")]
IdempotencyKey = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,255}$")]


class Model(BaseModel):
    """Strict (no "1" for 1), frozen; unknown fields are ignored here, and kept in the payload."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


M = TypeVar("M", bound=Model)


def check(model: type[M], value: object, *more: FieldError) -> M:
    """The value as a model, or `InvalidInput` with one entry for each wrong field (and `more`, found elsewhere)."""
    if not isinstance(value, Mapping):
        raise InvalidInput(FieldError("", "must be a JSON object"))
    try:
        checked = model.model_validate(value)
    except ValidationError as invalid:
        raise InvalidInput(*_entries(invalid), *more) from None
    if more:
        raise InvalidInput(*more)
    return checked


def _entries(invalid: ValidationError) -> list[FieldError]:
    by_field: dict[str, str] = {}
    for error in invalid.errors(include_url=False, include_input=False, include_context=False):
        field = ".".join(str(part) for part in error["loc"])
        by_field.setdefault(field, error["msg"].removeprefix("Value error, "))
    return [FieldError(field, message) for field, message in by_field.items()]
