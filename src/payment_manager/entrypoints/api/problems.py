"""The API's refusals as problem documents: one table from the domain's reasons to HTTP.

How to think about it: the domain says why, this module says how that looks from outside; what has
to do with HTTP alone is the shared edge's.
"""

from typing import Any
from uuid import UUID

import structlog
from litestar import Request, Response

from payment_manager.application.batching import Overloaded
from payment_manager.application.ports import Unavailable, WriteRefused
from payment_manager.domain.rejections import (
    DecisionContradicts,
    NotThere,
    Rejection,
    RequestContradicts,
    StateForbids,
)
from payment_manager.entrypoints.http import problems
from payment_manager.entrypoints.http.answers import Answer
from payment_manager.entrypoints.http.problems import not_now, problem

STATUS_OF: dict[type[Rejection], int] = {
    NotThere: 404,
    StateForbids: 409,
    RequestContradicts: 422,
    DecisionContradicts: 422,
}

log = structlog.get_logger()


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


def of_exception(correlation_id: str, error: Exception) -> Answer:
    """The one place that says what whatever a route raises looks like from outside."""
    match error:
        case Overloaded():
            return not_now(correlation_id, "overloaded", str(error))
        case Unavailable():
            return not_now(correlation_id, "unavailable", str(error))
        case WriteRefused():
            # Without its cause, whose words would put the refused row into the log.
            log.error("write_refused", reason=str(error), correlation_id=correlation_id)
            return problem(correlation_id, "internal_error")
        case _:
            return problems.of_exception(correlation_id, error)
