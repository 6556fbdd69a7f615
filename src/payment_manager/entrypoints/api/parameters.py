"""Requests' parts: bodies, query parameters, idempotency keys.

How to think about it: everything that comes from outside is read here, once, and is either a
checked value or an entry in the list of what is wrong. A parameter that is given twice where one is
meant is wrong, not "the last wins".
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from litestar import Request
from litestar.types import Scope

from payment_manager.contracts import cursors
from payment_manager.contracts.wire import FieldError, InvalidInput, Model, check, instant, parse
from payment_manager.entrypoints.http.bodies import json_body

Value = TypeVar("Value")
Checked = TypeVar("Checked", bound=Model)

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
_PARAMETERS_MAX = 1000  # a page's worth of ids; each is a look-up

ORDER_ID = re.compile(r"(?!events\Z)[A-Za-z0-9][A-Za-z0-9._:~@=+-]{0,254}")
_LINE = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,255}")
_KEY = re.compile(r"[ -~]{1,255}")
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')


# ── Bodies ────────────────────────────────────────────────────────────────────────────────────────


async def checked_body(request: Request[Any, Any, Any], model: type[Checked]) -> Checked:
    return check(model, parse(await json_body(request.scope, request.receive)))


async def optional_body(request: Request[Any, Any, Any], model: type[Checked]) -> Checked:
    """As `checked_body`, but no body at all is an empty object, whatever its content type."""
    headers = request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return check(model, {})
    return await checked_body(request, model)


# ── The Idempotency-Key header ────────────────────────────────────────────────────────────────────


def idempotency_key(scope: Scope, in_body: str | None) -> str | None:
    """The key of the header or the body; with both, they must agree. Raises `InvalidInput`.

    The header is a structured-field string by the IETF draft (quoted, with \\" and \\\\), or bare.
    """
    sent = [value for name, value in scope["headers"] if name == b"idempotency-key"]
    if not sent:
        return in_body
    if len(sent) > 1:
        raise InvalidInput(FieldError("Idempotency-Key", "must be given once"))
    text = sent[0].decode("latin-1").strip()
    if text.startswith('"'):
        quoted = _QUOTED.fullmatch(text)
        text = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else ""
    if not _KEY.fullmatch(text):
        raise InvalidInput(
            FieldError("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
        )
    if in_body is not None and in_body != text:
        raise InvalidInput(
            FieldError("idempotency_key", "must agree with the Idempotency-Key header")
        )
    return text


# ── Query parameters ──────────────────────────────────────────────────────────────────────────────


class Query:
    """The query parameters of one request; collects what is wrong, `done` raises it all at once."""

    def __init__(self, scope: Scope) -> None:
        self._errors: list[FieldError] = []
        self._given: dict[str, list[str]] = {}
        text: bytes = scope["query_string"]
        if text.count(b"&") >= _PARAMETERS_MAX:
            raise InvalidInput(FieldError("", f"must have at most {_PARAMETERS_MAX} parameters"))
        try:
            pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict")
        except ValueError:
            raise InvalidInput(FieldError("", "the query must be UTF-8, percent-encoded")) from None
        for name, value in pairs:
            self._given.setdefault(name, []).append(value)

    def one(self, name: str, read: Callable[[str], Value]) -> Value | None:
        """None where not given, or wrong. `read` raises `ValueError` with words for people."""
        given = self._given.get(name)
        if given is None:
            return None
        if len(given) > 1:
            self._errors.append(FieldError(name, "must be given once"))
            return None
        return self._read(name, given[0], read)

    def many(self, name: str, read: Callable[[str], Value]) -> Sequence[Value]:
        """Repeated, comma-separated or both; sorted, each once: equal filters are equal."""
        texts = [text for given in self._given.get(name, ()) for text in given.split(",")]
        if len(texts) > _PARAMETERS_MAX:
            self._errors.append(FieldError(name, f"must have at most {_PARAMETERS_MAX} values"))
            return ()
        values = [self._read(name, text, read) for text in texts]
        return sorted({value for value in values if value is not None})  # type: ignore[type-var]

    def limit(self) -> int:
        return self.one("limit", _limit) or LIMIT_DEFAULT

    def cursor(self, filter: bytes, read_id: Callable[[str], Any]) -> tuple[datetime, str] | None:
        """To be read last: it depends on the filter. `read_id` checks the id that it names."""
        text = self.one("cursor", str)
        self.done()
        if not text:
            # An empty one is what the last page gives; handed back, it means the beginning.
            return None
        place = cursors.decode(filter, text)
        try:
            read_id(place[1])
        except ValueError:
            raise InvalidInput(FieldError("cursor", "must be a next_cursor of this list")) from None
        return place

    def done(self) -> None:
        if self._errors:
            raise InvalidInput(*self._errors)

    def _read(self, name: str, text: str, read: Callable[[str], Value]) -> Value | None:
        try:
            return read(text)
        except ValueError as wrong:
            if all(error.field != name for error in self._errors):
                self._errors.append(FieldError(name, str(wrong)))
            return None


def _limit(text: str) -> int:
    if re.fullmatch(r"[0-9]{1,4}", text) and 1 <= int(text) <= LIMIT_MAX:
        return int(text)
    raise ValueError(f"must be a whole number from 1 to {LIMIT_MAX}")


def flag(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def choice(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return read


def time(text: str) -> datetime:
    # A plus that was not escaped arrives as a space; no time has a space before its offset.
    return instant(re.sub(r" (?=[0-9]{2}:[0-9]{2}$)", "+", text))


def order_id_text(text: str) -> str:
    if not ORDER_ID.fullmatch(text):
        raise ValueError("must be an order id: letters, digits and ._:~@=+-, at most 255")
    return text


def line(text: str) -> str:
    if not _LINE.fullmatch(text):
        raise ValueError("must be 1 to 255 characters without control characters")
    return text
