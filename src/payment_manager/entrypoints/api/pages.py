"""Pages of a list, as they are answered."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from litestar import Response

from payment_manager.application.queries import Page
from payment_manager.contracts import cursors
from payment_manager.entrypoints.http.answers import json

Row = TypeVar("Row")


class _PageBody(msgspec.Struct):
    items: list[Any]
    next_cursor: str
    has_more: bool


def page(found: Page[Row], view: Callable[[Row], Any], filter: bytes) -> Response[bytes]:
    body = _PageBody(
        items=[view(row) for row in found.items],
        next_cursor=cursors.encode(filter, found.next),
        has_more=found.next is not None,
    )
    return json(body)
