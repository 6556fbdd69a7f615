"""What those who run a service ask: is it alive, is it ready, what does it count."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from payment_manager.entrypoints.http.answers import json

DEGRADED = "degraded"
"""How a check begins that is not well, but takes nothing from what the service answers."""


class Health(msgspec.Struct, omit_defaults=True):
    status: str
    checks: dict[str, str] = {}  # msgspec copies it


class Readiness(Protocol):
    async def checks(self) -> dict[str, str]:
        """Each part that the service needs, and `ok`, `degraded: …` or what is wrong with it.
        Answers within two seconds, never raises.
        """
        ...


@dataclass(frozen=True, slots=True)
class Probes:
    """What the probes ask. `liveness`: each loop of the service, and `ok` or what is wrong."""

    readiness: Sequence[Readiness]
    liveness: Callable[[], dict[str, str]] = dict


class Scraped(Protocol):
    content_type: str

    def render(self) -> bytes: ...


def operation_handlers(probes: Probes, telemetry: Scraped) -> list[HTTPRouteHandler]:
    @get("/health/live")
    async def live() -> Response[bytes]:
        """The process works; whatever is wrong outside, a restart would not help."""
        checks = probes.liveness()
        alive = all(check == "ok" for check in checks.values())
        return json(Health("ok" if alive else "stuck", checks), 200 if alive else 503)

    @get("/health/ready")
    async def ready() -> Response[bytes]:
        """Work can be taken now."""
        checks: dict[str, str] = {}
        for part in probes.readiness:
            checks |= await part.checks()
        healthy = all(check == "ok" or check.startswith(DEGRADED) for check in checks.values())
        return json(Health("ready" if healthy else "unavailable", checks), 200 if healthy else 503)

    @get("/metrics")
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        return Response(telemetry.render(), headers={"content-type": telemetry.content_type})

    return [live, ready, metrics]
