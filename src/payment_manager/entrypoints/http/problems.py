"""Errors as RFC 9457 problem documents: how one is rendered, and what every service's edge refuses.

How to think about it: a service says with a function of its own what its routes' errors look like
(`Explain`), and leaves to `of_exception` what has to do with HTTP alone. What nobody can place is
an internal error with no detail: no SQL, no stack and no broker's text ever leaves the process.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from payment_manager.contracts.api import FieldProblem, Problem, encode
from payment_manager.contracts.wire import InvalidInput
from payment_manager.entrypoints.http.answers import Answer
from payment_manager.entrypoints.http.bodies import (
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    UnsupportedMediaType,
)
from payment_manager.entrypoints.http.problem_pages import PROBLEMS

MEDIA_TYPE = "application/problem+json"

RETRY_AFTER_SECONDS = 1
"""The database's and the broker's restarts take about that; whoever comes too early is told the
same again.
"""

Explain: TypeAlias = Callable[[str, Exception], Answer]
"""What an error of a route looks like from outside: correlation id and error to an answer."""

log = structlog.get_logger()


def problem(
    correlation_id: str,
    code: str,
    *,
    status: int | None = None,
    detail: str | None = None,
    errors: Sequence[FieldProblem] | None = None,
    order_id: str | None = None,
    dispute_id: UUID | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """The problem of this code, with the table's words where no others are given."""
    kind = PROBLEMS[code]
    status = status or kind.status
    document = Problem(
        type=f"/problems/{code}",
        title=kind.title,
        status=status,
        detail=detail or kind.meaning,
        code=code,
        correlation_id=correlation_id,
        errors=errors,
        order_id=order_id,
        dispute_id=dispute_id,
    )
    return Answer(status, encode(document), headers or {}, MEDIA_TYPE)


def not_now(correlation_id: str, code: str, reason: str) -> Answer:
    """A 503 that says when to come again; `reason` is for the log."""
    log.warning("unavailable", reason=reason, correlation_id=correlation_id)
    return problem(correlation_id, code, headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


def unreadable(status: int, detail: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """What never became a request: the headers and the body of its answer."""
    correlation_id = uuid4().hex
    code = "request_timeout" if status == 408 else "invalid_request"
    said = problem(correlation_id, code, status=status, detail=detail)
    log.info("unreadable", status=status, correlation_id=correlation_id)
    return [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(said.body)),
        (b"x-correlation-id", correlation_id.encode()),
    ], said.body


def of_exception(correlation_id: str, error: Exception) -> Answer:
    """What HTTP itself refuses, and the last resort."""
    match error:
        case InvalidInput():
            entries = [FieldProblem(e.field, e.message) for e in error.errors]
            return problem(correlation_id, "invalid_request", errors=entries)
        case ClientGone():
            return problem(correlation_id, "request_timeout")
        case UnsupportedMediaType():
            return problem(correlation_id, "unsupported_media_type")
        case BodyTooLarge():
            # The rest of the body is still coming: the connection can't be used again.
            return problem(correlation_id, "body_too_large", headers={"connection": "close"})
        case BodyTooSlow():
            return problem(correlation_id, "request_timeout", headers={"connection": "close"})
        case HTTPException(status_code=404):
            return problem(correlation_id, "not_found")
        case HTTPException(status_code=405):
            return problem(correlation_id, "method_not_allowed", headers=dict(error.headers or {}))
        case HTTPException(status_code=status) if 400 <= status < 500:
            return problem(correlation_id, "invalid_request", status=status)
        case _:
            log.error("request_failed", correlation_id=correlation_id, exc_info=error)
            return problem(correlation_id, "internal_error")


def in_framework(
    explain: Explain,
) -> Callable[[Request[Any, Any, Any], Exception], Response[bytes]]:
    """The framework's handler of all exceptions."""

    def handle(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        return explain(request.scope["state"]["correlation_id"], error).response()

    return handle
