"""What surrounds every request: a correlation id, the limits of its body, its line in the log, and
a last resort.

How to think about it: this is the outermost layer, plain ASGI, so that it also holds for routes
that don't exist and for errors of the framework itself. Nothing that goes wrong behind it leaves
the process as anything but a problem document.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from payment_manager.contracts.wire import correlation_id as given_or_new
from payment_manager.entrypoints.http.bodies import BodyTooLarge, BodyTooSlow
from payment_manager.entrypoints.http.problems import Explain, problem

log = structlog.get_logger()


class RequestTelemetry(Protocol):
    def request(self, method: str, route: str, status: int, seconds: float) -> None: ...


def correlation_id_of(scope: Scope) -> str:
    return str(scope["state"]["correlation_id"])


def note(scope: Scope, **facts: Any) -> None:
    """Facts for the request's line in the log: ids and outcomes, never bodies or secrets."""
    scope["state"].setdefault("facts", {}).update(facts)


class Edge:
    def __init__(
        self,
        app: ASGIApp,
        hot_routes: Mapping[str, ASGIApp],
        telemetry: RequestTelemetry,
        explain: Explain,
        *,
        body_bytes_max: int,
        body_timeout_seconds: float,
    ) -> None:
        self._app = app
        self._hot_routes = hot_routes
        self._telemetry = telemetry
        self._explain = explain
        self._body_bytes_max = body_bytes_max
        self._body_timeout_seconds = body_timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            return  # no web sockets here; the server answers 403
        began = time.perf_counter()
        headers = dict(scope["headers"])
        correlation_id = given_or_new(headers.get(b"x-correlation-id"))
        state: dict[str, Any] = {"correlation_id": correlation_id}
        scope["state"] = state
        status = 500
        started = False

        async def answer(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                added = [(b"x-correlation-id", correlation_id.encode())]
                message["headers"] = [*message.get("headers", ()), *added]
            await send(message)

        try:
            if int(headers.get(b"content-length", b"0")) > self._body_bytes_max:
                # Nobody will read the body, so nothing behind it can be read either.
                await problem(
                    correlation_id, "body_too_large", headers={"connection": "close"}
                ).send_to(answer)
            else:
                app = self._app
                if (hot := self._hot_routes.get(scope["path"])) is not None:
                    app = hot
                    scope["path_template"] = scope["path"]
                await app(scope, self._limited(receive), answer)
        except Exception as error:
            refusal = self._explain(correlation_id, error)
            if not started:
                await refusal.send_to(answer)
        seconds = time.perf_counter() - began
        route = scope.get("path_template") or "unmatched"
        self._telemetry.request(scope["method"], route, status, seconds)
        log.info(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            correlation_id=correlation_id,
            **state.get("facts", {}),
        )

    def _limited(self, receive: Receive) -> Receive:
        """`receive`, until the body is too large or too slow."""
        seen = 0
        deadline: float | None = None

        async def limited() -> Any:
            nonlocal seen, deadline
            now = asyncio.get_running_loop().time()
            deadline = deadline or now + self._body_timeout_seconds
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise BodyTooSlow from None
            if message["type"] == "http.request":
                seen += len(message["body"])
            if seen > self._body_bytes_max:
                raise BodyTooLarge
            return message

        return limited
