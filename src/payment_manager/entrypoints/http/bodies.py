"""Bodies: JSON by their content type, all there, within the limits."""

import re

from litestar.types import Receive, Scope

_JSON_TYPE = re.compile(r"application/(?:[A-Za-z0-9!#$&^_.+-]+\+)?json", re.IGNORECASE)


class UnsupportedMediaType(Exception):
    """The body is not JSON by its content type."""


class ClientGone(Exception):
    """The connection was closed before the body was all there; nobody is left to be answered."""


class BodyTooLarge(Exception):
    """More bytes than the limit, declared or sent."""


class BodyTooSlow(Exception):
    """The body was not all there in time."""


async def json_body(scope: Scope, receive: Receive) -> bytes:
    """The body as received. Raises `UnsupportedMediaType`; without a content type it is JSON."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            # The one spelling that nearly everybody sends costs a comparison.
            if value != b"application/json" and not _is_json(value.decode("latin-1")):
                raise UnsupportedMediaType
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            raise UnsupportedMediaType  # unpacked, a few bytes could become gigabytes
    return await _body(receive)


def _is_json(content_type: str) -> bool:
    essence, _, parameters = content_type.partition(";")
    charset = re.search(r'charset\s*=\s*"?([^\s";]+)', parameters, re.IGNORECASE)
    if charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        return False
    return _JSON_TYPE.fullmatch(essence.strip()) is not None


async def _body(receive: Receive) -> bytes:
    chunks = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        chunks.append(message["body"])
        if not message["more_body"]:
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
