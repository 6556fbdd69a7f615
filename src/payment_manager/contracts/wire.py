"""Bytes to values: the one place where JSON is read, and the field types that every request shares.

How to think about it: `parse` is strict about text and exact about numbers, so that nothing behind
it can meet NUL, half a surrogate pair or a rounded amount. `check` holds a parsed value against a
model and names all wrong fields at once. Two spellings of one JSON value (key order, white space,
100.5 and 100.50) have the same `content_hash`.
"""

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
import uuid_utils
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails

DEPTH_MAX = 64
"""Real payloads stay below ten; a limit of our own keeps what is accepted independent of the
interpreter's stack."""

DIGITS_MAX = 4300
"""The decoder's own limit for integers (and Python's: reading one costs the square of its length),
held for all numbers."""

_EXPANDED_DIGITS_MAX = 128
"""Up to here 1e3 and 1000 are made the same integer; beyond, both the same decimal, since an
exponent could ask for gigabytes of zeros. Few webhooks have more digits in all their fields."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """`field` is a path such as `meta.resolution`; empty for the body as a whole."""

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class InvalidInput(ValueError):
    """The request is not what the contract says. The messages never repeat what was sent."""

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(map(str, errors)))
        self.errors = errors


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────────


def _exact(text: str) -> int | Decimal:
    """The number without trailing zeros, an integer where it is one: equal values become equal.

    A `ValueError` becomes the decoder's `ValidationError`.
    """
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)  # JSON's grammar knows no NaN and no infinity
    if len(digits) > DIGITS_MAX:
        raise ValueError("too many digits")
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

# Looked for in the bytes: an earlier one of two equal keys is in the payload, but not in the value.
# Backslashes in pairs spell a backslash, so behind those the NUL is only text.
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_LONG_INTEGER = re.compile(rb"[0-9]{%d}" % (_EXPANDED_DIGITS_MAX + 1))
_ALL_BUT_DIGITS = bytes(set(range(256)) - set(b"0123456789"))


def parse(body: bytes) -> Any:
    """The JSON value of `body`; numbers are `int` or exact `Decimal`, of a repeated key the last
    counts.

    Raises `InvalidInput` for what is not JSON in UTF-8, for NUL or a lone surrogate anywhere, for
    nesting deeper than `DEPTH_MAX`, for numbers longer than `DIGITS_MAX` and for those beyond what
    a decimal can hold.
    """
    try:
        value = _decoder.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except InvalidOperation:
        raise InvalidInput(FieldError("", "must have no number with such an exponent")) from None
    except msgspec.ValidationError:  # the one rule that a decoder without a type has
        message = f"must have no number of more than {DIGITS_MAX} digits"
        raise InvalidInput(FieldError("", message)) from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise InvalidInput(FieldError("", "must be JSON in UTF-8")) from None
    # Counting bytes costs next to nothing; only what looks suspicious is walked.
    if b"\\u0000" in body and _ESCAPED_NUL.search(body):
        raise InvalidInput(FieldError("", "must hold no NUL character"))
    if body.count(b"[") + body.count(b"{") > DEPTH_MAX:
        _check_depth(value)
    digits = len(body.translate(None, _ALL_BUT_DIGITS))
    if digits > _EXPANDED_DIGITS_MAX and _LONG_INTEGER.search(body):
        return _with_short_integers(value)
    return value


def _too_deep() -> InvalidInput:
    return InvalidInput(FieldError("", f"must be nested at most {DEPTH_MAX} deep"))


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH_MAX + 1):
        level = [above for above in level if isinstance(above, dict | list)]
        if not level:
            return
        level = [
            below
            for above in level
            for below in (above.values() if isinstance(above, dict) else above)
        ]
    raise _too_deep()


def _with_short_integers(value: Any) -> Any:
    """Integers that are too long to be expanded, as `_exact` gives their other spellings."""
    match value:
        case dict():
            return {key: _with_short_integers(below) for key, below in value.items()}
        case list():
            return [_with_short_integers(below) for below in value]
        case int() if abs(value) >= 10**_EXPANDED_DIGITS_MAX:
            return _exact(str(value))
        case _:
            return value


def content_hash(value: Any) -> bytes:
    """16 bytes, equal exactly for equal JSON values (as `parse` gives them)."""
    return hashlib.blake2b(_canonical.encode(value), digest_size=16).digest()


# ── Correlation ids ───────────────────────────────────────────────────────────────────────────────

_CORRELATION_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def correlation_id(sent: bytes | None) -> str:
    """What was sent, where it is a correlation id; else a new one."""
    if sent is not None and _CORRELATION_ID.fullmatch(sent):
        return sent.decode()
    return uuid_utils.uuid4().hex


# ── Fields ────────────────────────────────────────────────────────────────────────────────────────

_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]+)?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_AFTER_LATEST = datetime(2101, 1, 1, tzinfo=UTC)


def instant(value: object) -> datetime:
    """RFC 3339 with an offset, years 1970-2100, as UTC; finer than microseconds is cut.

    Raises `ValueError`; also for a leap second, which neither Python nor PostgreSQL can keep.
    """
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


_RULES: dict[str, str] = {}


def _text(pattern: str, rule: str) -> StringConstraints:
    """A text of this pattern; `rule` says it to people."""
    _RULES[pattern] = rule
    return StringConstraints(pattern=pattern)


def _not_reserved(order_id: str) -> str:
    if order_id == "events":
        raise ValueError("must not be 'events', which is a route")
    return order_id


Instant = Annotated[
    datetime, BeforeValidator(instant), WithJsonSchema({"type": "string", "format": "date-time"})
]
UserId = Annotated[
    UUID, BeforeValidator(uuid), WithJsonSchema({"type": "string", "format": "uuid"})
]
ProviderEventId = Annotated[
    str, _text(r"^[!-~]{1,255}$", "must be 1 to 255 printable ASCII characters without spaces")
]
OrderId = Annotated[
    str,
    _text(
        r"^[A-Za-z0-9][A-Za-z0-9._:~@=+-]{0,254}$",
        "must be 1 to 255 letters, digits or . _ : ~ @ = + -, beginning with a letter or digit",
    ),
    AfterValidator(_not_reserved),
]
# \x00-\x1f, \x7f-\x9f: the control characters of Unicode (category Cc).
_LINE = r"^[^\x00-\x1f\x7f-\x9f]{1,255}$"
Line = Annotated[str, _text(_LINE, "must be 1 to 255 characters without control characters")]
IdempotencyKey = Annotated[
    str, _text(r"^[ -~]{1,255}$", "must be 1 to 255 printable ASCII characters")
]


class Model(BaseModel):
    """Strict (no "1" for 1), frozen; unknown fields are ignored here, and kept in the payload."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


M = TypeVar("M", bound=Model)


def check(model: type[M], value: object, *more: FieldError) -> M:
    """The value as a model, or `InvalidInput` with one entry for each wrong field.

    `more` are wrong fields that were found elsewhere.
    """
    if not isinstance(value, Mapping):
        raise InvalidInput(FieldError("", "must be a JSON object"))
    try:
        checked = model.model_validate(value)
    except ValidationError as invalid:
        raise InvalidInput(*_entries(invalid), *more) from None
    if more:
        raise InvalidInput(*more)
    return checked


# Pydantic's types of errors in our words: they name the rule, and never what was sent.
_WORDS = {
    "missing": "is required",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "dict_type": "must be a JSON object",
    "model_type": "must be a JSON object",
    "list_type": "must be a JSON array",
    "literal_error": "must be {expected}",
    "too_long": "must have at most {max_length} entries",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "value_error": "{error}",
}


def _entries(invalid: ValidationError) -> list[FieldError]:
    by_field: dict[str, str] = {}
    for error in invalid.errors(include_url=False, include_input=False):
        by_field.setdefault(_path(error["loc"]), _words(error))
    return [FieldError(field, message) for field, message in by_field.items()]


def _path(location: Sequence[str | int]) -> str:
    """`files.0.name`; it ends before a name that was sent and is not a line of text."""
    return ".".join(itertools.takewhile(re.compile(_LINE).fullmatch, map(str, location)))


def _words(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    if error["type"] == "string_pattern_mismatch":
        rule = _RULES[context["pattern"]]
        return f"each name {rule}" if error["loc"][-1] == "[key]" else rule
    return _WORDS.get(error["type"], "is not valid").format(**context)
