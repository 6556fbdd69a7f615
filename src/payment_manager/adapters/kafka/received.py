"""A message as the client gives it, as a value of ours."""

from collections.abc import Sequence
from operator import methodcaller
from typing import Any

import structlog

from payment_manager.application.ports import Message

log = structlog.get_logger()


def message_of(message: Any) -> Message:
    return Message(
        message.topic(),
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        _headers(message),
    )


_headers_of = methodcaller("headers")
"""Called from C, where a result that comes with an error is found out. A call in Python that is
made often enough skips that look, and would hand out a name that is a null pointer."""


def _headers(message: Any) -> Sequence[tuple[str, bytes | None]]:
    try:
        return _headers_of(message) or ()
    except SystemError:
        # A name that is no UTF-8: the client can give none of the headers then.
        log.warning("headers_unreadable", partition=message.partition(), offset=message.offset())
        return ()
