"""A service without routes for operators: hot routes, if any, probes and counts.

What Ingest and a worker are from outside. The API has more, and an `app.py` of its own.
"""

from collections.abc import Mapping
from typing import Protocol

from litestar import Litestar
from litestar.types import ASGIApp

from payment_manager.entrypoints.http.edge import Edge, RequestTelemetry
from payment_manager.entrypoints.http.operations import Probes, Scraped, operation_handlers
from payment_manager.entrypoints.http.problem_pages import explain_problem
from payment_manager.entrypoints.http.problems import in_framework, of_exception


class EdgeCounts(Scraped, RequestTelemetry, Protocol):
    """What the edge counts, and the page that is scraped."""


def create_app(
    hot_routes: Mapping[str, ASGIApp],
    probes: Probes,
    telemetry: EdgeCounts,
    *,
    body_bytes_max: int,
    body_timeout_seconds: float,
) -> ASGIApp:
    app = Litestar(
        route_handlers=[*operation_handlers(probes, telemetry), explain_problem],
        exception_handlers={Exception: in_framework(of_exception)},
        openapi_config=None,
        logging_config=None,
        # The edge counts bytes for all routes, and answers with a problem.
        request_max_body_size=None,
    )
    return Edge(
        app,
        hot_routes,
        telemetry,
        of_exception,
        body_bytes_max=body_bytes_max,
        body_timeout_seconds=body_timeout_seconds,
    )
