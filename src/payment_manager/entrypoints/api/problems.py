"""Errors as RFC 9457 problem documents: one table from refusals to HTTP, one way to render them.

How to think about it: the domain says why, this module says how that looks from outside. What it
can't place is an internal error with no detail: no SQL, no stack and no broker's text ever leaves
the process.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from payment_manager.application.batching import Overloaded
from payment_manager.application.ports import Unavailable, WriteRefused
from payment_manager.contracts.api import FieldProblem, Problem, encode
from payment_manager.contracts.wire import InvalidInput
from payment_manager.domain.rejections import (
    DecisionContradicts,
    NotThere,
    Rejection,
    RequestContradicts,
    StateForbids,
)
from payment_manager.entrypoints.api.answers import Answer
from payment_manager.entrypoints.api.parameters import ClientGone, UnsupportedMediaType
from payment_manager.entrypoints.api.problem_pages import PROBLEMS

MEDIA_TYPE = "application/problem+json"

RETRY_AFTER_SECONDS = 1
"""The database's restarts take about that; whoever comes too early is told the same again."""

STATUS_OF: dict[type[Rejection], int] = {
    NotThere: 404,
    StateForbids: 409,
    RequestContradicts: 422,
    DecisionContradicts: 422,
}

log = structlog.get_logger()


class BodyTooLarge(Exception):
    """More bytes than the limit, declared or sent."""


class BodyTooSlow(Exception):
    """The body was not all there in time."""


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


def rejected(
    correlation_id: str,
    rejection: Rejection,
    order_id: str | None = None,
    dispute_id: UUID | None = None,
) -> Answer:
    status = next(status for kind, status in STATUS_OF.items() if isinstance(rejection, kind))
    return problem(
        correlation_id,
        rejection.code,
        status=status,
        detail=rejection.detail,
        order_id=order_id,
        dispute_id=dispute_id,
    )


def refused(request: Request[Any, Any, Any], rejection: Rejection) -> Response[bytes]:
    """An operator's request that the domain refused."""
    return rejected(request.scope["state"]["correlation_id"], rejection).response()


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
    """The one place that says what whatever a route raises looks like from outside."""
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
        case Unavailable():
            code = "overloaded" if isinstance(error, Overloaded) else "unavailable"
            log.warning("unavailable", reason=str(error), correlation_id=correlation_id)
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            return problem(correlation_id, code, headers=headers)
        case WriteRefused():
            # Without its cause, whose words would put the refused row into the log.
            log.error("write_refused", reason=str(error), correlation_id=correlation_id)
            return problem(correlation_id, "internal_error")
        case HTTPException(status_code=404):
            return problem(correlation_id, "not_found")
        case HTTPException(status_code=405):
            return problem(correlation_id, "method_not_allowed", headers=dict(error.headers or {}))
        case HTTPException(status_code=status) if 400 <= status < 500:
            return problem(correlation_id, "invalid_request", status=status)
        case _:
            log.error("request_failed", correlation_id=correlation_id, exc_info=error)
            return problem(correlation_id, "internal_error")


def of_exception_in_framework(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    return of_exception(request.scope["state"]["correlation_id"], error).response()
