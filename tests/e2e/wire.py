"""What tests send to the service, and how its problem documents are read."""

from typing import Any

import httpx

from tests.e2e.service import SECRET

ORDERS = "/webhooks/payments/orders"
CHARGEBACKS = "/webhooks/payments/chargebacks"
JSON = {"Content-Type": "application/json"}
PROBLEM = {"type", "title", "status", "detail", "code", "correlation_id"}


def send(api: httpx.Client, path: str, body: bytes, **headers: str) -> httpx.Response:
    return api.post(path, content=body, headers={**JSON, **headers})


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
