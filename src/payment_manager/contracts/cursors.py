"""Cursors: where a page ended, in a form that callers hand back and never read.

How to think about it: a cursor is a place in an order (time, id), so it stays right while rows are
added. It carries a hash of the list's name and filter, since a place in one list means nothing in
another. It is not a secret and grants nothing, so it is not signed; a forged one is only a place.
"""

import base64
import binascii
import hashlib
from datetime import datetime
from typing import Any

import msgspec

from payment_manager.contracts.wire import FieldError, InvalidInput

_HASH_BYTES = 8  # enough to tell filters apart; nobody gains by making two alike


class _Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    filter: bytes
    time: datetime
    id: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Cursor).decode


def filter_hash(list_name: str, *parts: Any) -> bytes:
    """`parts` are the filter's values and the order, in a form that is the same for the same
    filter.
    """
    text = msgspec.json.encode((list_name, parts), order="deterministic")
    return hashlib.blake2b(text, digest_size=_HASH_BYTES).digest()


def encode(filter: bytes, place: tuple[datetime, str] | None) -> str:
    """An empty text where there is no next page."""
    if place is None:
        return ""
    return base64.urlsafe_b64encode(_encode(_Cursor(filter, *place))).decode().rstrip("=")


def decode(filter: bytes, text: str) -> tuple[datetime, str]:
    """Raises `InvalidInput` for what is no cursor, or one of another list or filter."""
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        cursor = _decode(base64.b64decode(padded, altchars=b"-_", validate=True))
        if cursor.time.tzinfo is None:
            raise ValueError("naive")
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        raise InvalidInput(FieldError("cursor", "must be a next_cursor of this list")) from None
    if cursor.filter != filter:
        raise InvalidInput(FieldError("cursor", "belongs to a list with another filter"))
    return cursor.time, cursor.id
