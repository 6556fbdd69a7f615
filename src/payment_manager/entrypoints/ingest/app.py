"""The Ingest service as an ASGI application: the webhook routes, probes and counts."""

from typing import Protocol

from litestar import Litestar
from litestar.types import ASGIApp

from payment_manager.entrypoints.http.edge import Edge, RequestTelemetry
from payment_manager.entrypoints.http.operations import Probes, Scraped, operation_handlers
from payment_manager.entrypoints.http.problem_pages import explain_problem
from payment_manager.entrypoints.http.problems import in_framework, of_exception
from payment_manager.entrypoints.ingest.webhooks import Intake, kafka_routes


class IngestTelemetry(Scraped, RequestTelemetry, Protocol):
    """What the edge counts, and the page that is scraped."""


def create_app(
    intake: Intake,
    probes: Probes,
    telemetry: IngestTelemetry,
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
        kafka_routes(intake),
        telemetry,
        of_exception,
        body_bytes_max=body_bytes_max,
        body_timeout_seconds=body_timeout_seconds,
    )
