"""What those who run the service ask: is it alive, is it ready, what does it count."""

from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from payment_manager.entrypoints.api.answers import json
from payment_manager.entrypoints.api.services import Services


class Health(msgspec.Struct, omit_defaults=True):
    status: str
    checks: dict[str, str] = {}  # msgspec copies it


def operation_handlers(services: Services) -> list[HTTPRouteHandler]:
    @get("/health/live")
    async def live() -> Response[bytes]:
        """The process runs; whatever is wrong outside, a restart would not help."""
        return json(Health("ok"))

    @get("/health/ready")
    async def ready() -> Response[bytes]:
        """Work can be taken now."""
        checks = await services.readiness.checks()
        healthy = all(check == "ok" for check in checks.values())
        return json(Health("ready" if healthy else "unavailable", checks), 200 if healthy else 503)

    @get("/metrics")
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        telemetry = services.telemetry
        return Response(telemetry.render(), headers={"content-type": telemetry.content_type})

    return [live, ready, metrics]
