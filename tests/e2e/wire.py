"""What tests send to the service, and how its problem documents are read."""

from typing import Any

import httpx

from tests.e2e.service import SECRET, eventually

ORDERS = "/webhooks/payments/orders"
CHARGEBACKS = "/webhooks/payments/chargebacks"
JSON = {"Content-Type": "application/json"}
SEND_SECONDS_MAX = 120.0
"""A provider goes on for days; a service that takes nothing for so long is away."""

PROBLEM = {"type", "title", "status", "detail", "code", "correlation_id"}


def send(api: httpx.Client, path: str, body: bytes, **headers: str) -> httpx.Response:
    return api.post(path, content=body, headers={**JSON, **headers})


def send_as_provider(api: httpx.Client, path: str, body: bytes, **headers: str) -> httpx.Response:
    """Sent again after a 503: so is answered, too, where a broker or a database stands still on a
    busy machine for longer than an answer may take.
    """

    def answered() -> httpx.Response | None:
        answer = send(api, path, body, **headers)
        return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

    found: httpx.Response = eventually(answered, SEND_SECONDS_MAX)
    return found


def problem_of(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document, if it is one and says this."""
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    )
    problem: dict[str, Any] = answer.json()
    assert problem.keys() >= PROBLEM
    assert (problem["status"], problem["code"]) == (status, code), problem
    assert problem["type"] == f"/problems/{code}"
    assert problem["correlation_id"] == answer.headers["x-correlation-id"]
    assert SECRET not in answer.text
    return problem


def wrong_fields(answer: httpx.Response) -> set[str]:
    return {error["field"] for error in problem_of(answer, 400, "invalid_request")["errors"]}
