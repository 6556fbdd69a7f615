"""The provider's webhook routes, whoever takes what comes in on them.

How to think about it: these two routes are the hot path, so the edge calls them itself, as plain
ASGI: the framework's routing, request and response would cost as much as all the rest of the work
here. In sync mode the API serves them, in Kafka mode Ingest: the same paths, checks and problems.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from litestar.types import ASGIApp, Receive, Scope, Send

from payment_manager.entrypoints.http.answers import Answer
from payment_manager.entrypoints.http.bodies import json_body
from payment_manager.entrypoints.http.edge import correlation_id_of
from payment_manager.entrypoints.http.problems import problem

Take: TypeAlias = Callable[[Scope, bytes, str], Awaitable[Answer]]
"""Scope, body and correlation id of a webhook to its answer."""


def webhook_routes(orders: Take, chargebacks: Take) -> dict[str, ASGIApp]:
    """Each route's path and application."""
    return {
        "/webhooks/payments/orders": _route(orders),
        "/webhooks/payments/chargebacks": _route(chargebacks),
    }


def _route(take: Take) -> ASGIApp:
    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        correlation_id = correlation_id_of(scope)
        if scope["method"] != "POST":  # type: ignore[typeddict-item]  # HTTP: the edge saw to that
            answer = problem(correlation_id, "method_not_allowed", headers={"Allow": "POST"})
        else:
            answer = await take(scope, await json_body(scope, receive), correlation_id)
        await answer.send_to(send)

    return route
