"""Answers as JSON: single ones, and pages."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from litestar import Response

from payment_manager.application.queries import Page
from payment_manager.contracts import cursors
from payment_manager.contracts.api import encode

Row = TypeVar("Row")

REPLAYED = {"Idempotent-Replayed": "true"}


class _PageBody(msgspec.Struct):
    items: list[Any]
    next_cursor: str
    has_more: bool


def json(
    answer: msgspec.Struct, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response[bytes]:
    return Response(
        encode(answer), status_code=status, media_type="application/json", headers=headers
    )


def page(found: Page[Row], view: Callable[[Row], Any], filter: bytes) -> Response[bytes]:
    body = _PageBody(
        items=[view(row) for row in found.items],
        next_cursor=cursors.encode(filter, found.next),
        has_more=found.next is not None,
    )
    return json(body)
