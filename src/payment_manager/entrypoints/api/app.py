"""The API service as an ASGI application."""

from litestar import Litestar
from litestar.types import ASGIApp, ControllerRouterHandler

from payment_manager.entrypoints.api.disputes import dispute_handlers
from payment_manager.entrypoints.api.docs import docs_handlers
from payment_manager.entrypoints.api.orders import order_handlers
from payment_manager.entrypoints.api.problems import of_exception
from payment_manager.entrypoints.api.search import search_handlers
from payment_manager.entrypoints.api.services import Services
from payment_manager.entrypoints.api.webhooks import sync_routes
from payment_manager.entrypoints.http.edge import Edge
from payment_manager.entrypoints.http.operations import operation_handlers
from payment_manager.entrypoints.http.problem_pages import explain_problem
from payment_manager.entrypoints.http.problems import in_framework


def create_app(services: Services, *, body_bytes_max: int, body_timeout_seconds: float) -> ASGIApp:
    handlers: list[ControllerRouterHandler] = [
        *order_handlers(services),
        *dispute_handlers(services),
        *search_handlers(services),
        *operation_handlers(services.probes, services.telemetry),
        *docs_handlers,
        explain_problem,
    ]
    app = Litestar(
        route_handlers=handlers,
        exception_handlers={Exception: in_framework(of_exception)},
        openapi_config=None,  # ours says more than signatures can: see openapi.py
        logging_config=None,
        # The edge counts bytes for all routes, and answers with a problem.
        request_max_body_size=None,
    )
    return Edge(
        app,
        sync_routes(services),
        services.telemetry,
        of_exception,
        body_bytes_max=body_bytes_max,
        body_timeout_seconds=body_timeout_seconds,
    )
