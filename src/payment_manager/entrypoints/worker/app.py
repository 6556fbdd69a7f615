"""A worker as an ASGI application: nothing but probes and counts, for those who watch it."""

from typing import Protocol

from litestar import Litestar
from litestar.types import ASGIApp

from payment_manager.entrypoints.http.edge import Edge, RequestTelemetry
from payment_manager.entrypoints.http.operations import Probes, Scraped, operation_handlers
from payment_manager.entrypoints.http.problem_pages import explain_problem
from payment_manager.entrypoints.http.problems import in_framework, of_exception


class WorkerTelemetry(Scraped, RequestTelemetry, Protocol):
    """What the worker's edge counts, and the page that is scraped."""


def create_app(
    probes: Probes,
    telemetry: WorkerTelemetry,
    *,
    body_bytes_max: int,
    body_timeout_seconds: float,
) -> ASGIApp:
    app = Litestar(
        route_handlers=[*operation_handlers(probes, telemetry), explain_problem],
        exception_handlers={Exception: in_framework(of_exception)},
        openapi_config=None,
        logging_config=None,
    )
    return Edge(
        app,
        {},
        telemetry,
        of_exception,
        body_bytes_max=body_bytes_max,
        body_timeout_seconds=body_timeout_seconds,
    )
