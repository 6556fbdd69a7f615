"""Webhooks over HTTP: what each of them is answered, alone and many at once."""

import asyncio
import json
import re
from collections import Counter
from uuid import UUID

import httpx
import pytest

from tests.e2e.service import SECRET, Service
from tests.e2e.wire import CHARGEBACKS, JSON, ORDERS, problem_of, send, wrong_fields
from tests.webhooks import chargeback_webhook, order_webhook

# ── 202 and 200 ───────────────────────────────────────────────────────────────────────────────────


def test_a_first_webhook_is_applied(api: httpx.Client, order_id: str) -> None:
    answer = send(api, ORDERS, order_webhook(order_id))
    assert (answer.status_code, answer.json()) == (
        202,
        {"outcome": "applied", "order_id": order_id, "dispute_id": None},
    )
    assert answer.headers["content-type"] == "application/json"


def test_a_late_one_is_stale_and_changes_nothing(api: httpx.Client, order_id: str) -> None:
    send(api, ORDERS, order_webhook(order_id, "updated", minute=5))
    before = api.get(f"/orders/{order_id}").json()
    answer = send(api, ORDERS, order_webhook(order_id, "created", minute=1))
    assert (answer.status_code, answer.json()["outcome"]) == (202, "stale")
    assert api.get(f"/orders/{order_id}").json() == before


def test_a_redelivery_is_a_duplicate_however_it_is_spelled(
    api: httpx.Client, order_id: str
) -> None:
    body = order_webhook(order_id)
    send(api, ORDERS, body)
    spelled_otherwise = json.dumps(dict(reversed(json.loads(body).items())), indent=2).encode()
    for again in (body, spelled_otherwise):
        answer = send(api, ORDERS, again)
        assert (answer.status_code, answer.json()["outcome"]) == (200, "duplicate")


def test_a_chargeback_waits_for_its_order_and_is_applied_with_it(
    api: httpx.Client, order_id: str
) -> None:
    body = chargeback_webhook(order_id)
    parked = send(api, CHARGEBACKS, body)
    assert (parked.status_code, parked.json()["outcome"]) == (202, "parked")
    dispute_id = parked.json()["dispute_id"]
    assert UUID(dispute_id).version == 5
    problem_of(api.get(f"/disputes/{dispute_id}"), 404, "dispute_not_found")
    assert send(api, CHARGEBACKS, body).json()["outcome"] == "duplicate"
    send(api, ORDERS, order_webhook(order_id))
    assert api.get(f"/disputes/{dispute_id}").json()["status"] == "open"
    [event] = api.get("/disputes/events", params={"dispute_ids": dispute_id}).json()["items"]
    assert event["data"]["outcome"] == "applied"
    assert "parked_at" in event["data"]
    again = send(api, CHARGEBACKS, body)
    assert (again.status_code, again.json()["outcome"]) == (200, "duplicate")


def test_orders_and_disputes_are_two_spaces_of_ids(api: httpx.Client, order_id: str) -> None:
    send(api, ORDERS, order_webhook(order_id, provider_event_id="same"))
    answer = send(api, CHARGEBACKS, chargeback_webhook(order_id, provider_event_id="same"))
    assert (answer.status_code, answer.json()["outcome"]) == (202, "applied")


def test_the_payload_is_kept_as_received_unknown_fields_included(
    api: httpx.Client, order_id: str
) -> None:
    body = order_webhook(order_id, extra={"deep": [1, 1.50, None]}, meta={"note": SECRET})
    send(api, ORDERS, body)
    listed = api.get("/orders/events", params={"order_ids": order_id})
    assert body.decode() in listed.text


# ── 400 ───────────────────────────────────────────────────────────────────────────────────────────


def test_all_wrong_fields_are_named_at_once(api: httpx.Client) -> None:
    assert wrong_fields(send(api, ORDERS, b"{}")) == {
        "provider_event_id", "order_id", "user_id", "status", "created_at", "updated_at",
    }  # fmt: skip
    body = order_webhook(
        "events",
        "paid",
        provider_event_id="with space",
        user_id="me",
        created_at="2026-01-02T10:00:00",
        updated_at="1969-12-31T23:59:59Z",
        meta=[],
    )
    assert wrong_fields(send(api, ORDERS, body)) == {
        "provider_event_id", "order_id", "user_id", "status", "created_at", "updated_at", "meta",
    }  # fmt: skip


def test_nested_fields_are_named_by_their_path(api: httpx.Client) -> None:
    body = chargeback_webhook(status="closed", resolution="perhaps", amount=100.555, reason="\n")
    assert wrong_fields(send(api, CHARGEBACKS, body)) == {"meta.resolution", "amount", "reason"}


@pytest.mark.parametrize("resolution", ["won", "LOST", "Canceled"])
def test_a_resolution_counts_in_any_letter_case(
    api: httpx.Client, order_id: str, resolution: str
) -> None:
    send(api, ORDERS, order_webhook(order_id))
    send(api, CHARGEBACKS, chargeback_webhook(order_id, "closed", resolution=resolution))
    [dispute] = api.get("/disputes", params={"order_id": order_id}).json()["items"]
    assert dispute["status"] == resolution.lower()


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("0", "USD"), ("-1", "USD"), ('"1.00"', "USD"), ("1.005", "USD"), ("1.5", "JPY"),
        ("1", "usd"), ("1", "XXX"), ("1", "ZZZ"), ("NaN", "USD"), ("Infinity", "USD"),
        ("1e400", "USD"), ("1e-400", "USD"), ("9999999999999999", "JPY"), ("true", "USD"),
        ("null", "USD"),
    ],
)  # fmt: skip
def test_money_that_is_none_is_refused(api: httpx.Client, amount: str, currency: str) -> None:
    body = chargeback_webhook(currency=currency).replace(b"100.5", amount.encode())
    assert wrong_fields(send(api, CHARGEBACKS, body)) <= {"amount", "currency", ""}


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        ("100.500", "USD", "100.50"), ("1.0", "JPY", "1"), ("1e2", "USD", "100.00"),
        ("1.5", "KWD", "1.500"), ("0.01", "USD", "0.01"),
        ("9999999999999.99", "USD", "9999999999999.99"),
    ],
)  # fmt: skip
def test_money_is_answered_digit_for_digit_with_the_currencys_decimals(
    api: httpx.Client, order_id: str, amount: str, currency: str, shown: str
) -> None:
    send(api, ORDERS, order_webhook(order_id))
    body = chargeback_webhook(order_id, currency=currency).replace(b"100.5", amount.encode())
    assert send(api, CHARGEBACKS, body).status_code == 202
    listed = api.get("/disputes", params={"order_id": order_id}).text
    assert f'"amount":{shown},"currency":"{currency}"' in listed


# ── 409, 413, 415, 422 ────────────────────────────────────────────────────────────────────────────


def test_the_same_id_with_other_content_is_a_conflict_and_leaves_no_trace(
    api: httpx.Client, order_id: str
) -> None:
    send(api, ORDERS, order_webhook(order_id, provider_event_id="one"))
    before = api.get("/orders/events", params={"order_ids": order_id}).json()
    answer = send(api, ORDERS, order_webhook(order_id, "updated", provider_event_id="one"))
    problem_of(answer, 409, "webhook_conflict")
    assert api.get("/orders/events", params={"order_ids": order_id}).json() == before


def test_a_body_over_the_limit_is_413_declared_or_not(api: httpx.Client, order_id: str) -> None:
    room = 262_144 - len(order_webhook(order_id, meta={"pad": ""}))
    at_limit = order_webhook(order_id, meta={"pad": "x" * (room - 3)})
    assert send(api, ORDERS, at_limit).status_code == 202
    too_large = order_webhook(order_id, meta={"pad": "x" * (room + 3)})
    problem_of(send(api, ORDERS, too_large), 413, "body_too_large")
    in_chunks = api.post(ORDERS, content=iter([too_large[:1000], too_large[1000:]]), headers=JSON)
    problem_of(in_chunks, 413, "body_too_large")


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"],
)
def test_what_is_not_json_by_its_content_type_is_415(api: httpx.Client, content_type: str) -> None:
    answer = send(api, ORDERS, order_webhook("ord-415"), **{"Content-Type": content_type})
    problem_of(answer, 415, "unsupported_media_type")


def test_a_compressed_body_is_415(api: httpx.Client) -> None:
    answer = send(api, ORDERS, order_webhook("ord-415"), **{"Content-Encoding": "gzip"})
    problem_of(answer, 415, "unsupported_media_type")


def test_a_contradicting_decision_is_422_again_and_again_and_recorded_once(
    api: httpx.Client, order_id: str
) -> None:
    send(api, ORDERS, order_webhook(order_id, "failed", minute=1))
    body = order_webhook(order_id, "success", minute=2)
    for _ in range(3):
        problem = problem_of(send(api, ORDERS, body), 422, "decision_contradicts")
        assert problem["order_id"] == order_id
    assert api.get(f"/orders/{order_id}").json()["status"] == "failed"
    listed = api.get("/orders/events", params={"order_ids": order_id, "sort_asc": "true"}).json()
    assert [event["kind"] for event in listed["items"]] == ["webhook_received", "webhook_rejected"]


def test_a_contradicted_dispute_is_named_by_its_id(api: httpx.Client, order_id: str) -> None:
    send(api, ORDERS, order_webhook(order_id))
    won = send(api, CHARGEBACKS, chargeback_webhook(order_id, "closed", resolution="won"))
    lost = chargeback_webhook(order_id, "closed", minute=9, resolution="lost")
    for _ in range(2):
        problem = problem_of(send(api, CHARGEBACKS, lost), 422, "decision_contradicts")
        assert problem["dispute_id"] == won.json()["dispute_id"]


def test_a_parked_one_that_came_to_a_rejection_is_422_when_it_comes_again(
    api: httpx.Client, order_id: str
) -> None:
    send(api, CHARGEBACKS, chargeback_webhook(order_id, "closed", resolution="won"))
    lost = chargeback_webhook(order_id, "closed", resolution="lost")
    assert send(api, CHARGEBACKS, lost).json()["outcome"] == "parked"
    send(api, ORDERS, order_webhook(order_id))
    problem_of(send(api, CHARGEBACKS, lost), 422, "decision_contradicts")


# ── Errors in general ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/orders/x/nothing", 404, "not_found"),
        ("GET", "/problems/nonsense", 404, "not_found"),
        ("GET", "/orders/unknown", 404, "order_not_found"),
        ("GET", "/orders/%20", 404, "order_not_found"),
        ("GET", "/disputes/unknown", 404, "dispute_not_found"),
        ("DELETE", "/orders", 405, "method_not_allowed"),
        ("GET", ORDERS, 405, "method_not_allowed"),
        ("PUT", "/health/live", 405, "method_not_allowed"),
        ("PATCH", "/orders/x/capture", 405, "method_not_allowed"),
    ],
)
def test_every_error_is_a_problem_document(
    api: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    answer = api.request(method, path)
    problem_of(answer, status, code)
    if status == 405:
        assert answer.headers["allow"]


def test_a_problems_type_leads_to_its_explanation(api: httpx.Client) -> None:
    problem = send(api, ORDERS, b"nonsense").json()
    as_json = api.get(problem["type"])
    assert as_json.json()["code"] == "invalid_request"
    page = api.get(problem["type"], headers={"Accept": "text/html"})
    assert page.headers["content-type"].startswith("text/html")


# ── Correlation ids ───────────────────────────────────────────────────────────────────────────────


def test_a_correlation_id_is_taken_answered_and_logged(
    service: Service, api: httpx.Client, order_id: str
) -> None:
    taken = f"my.id_{order_id}"
    answer = send(api, ORDERS, order_webhook(order_id), **{"X-Correlation-ID": taken})
    assert answer.headers["x-correlation-id"] == taken
    line = service.wait_for_log("request", correlation_id=taken)
    assert (line["route"], line["status"], line["outcome"]) == (ORDERS, 202, "applied")


@pytest.mark.parametrize("sent", [None, "", "x" * 65, "with space", "semi;colon", 'quo"te', "é"])
def test_a_missing_or_strange_correlation_id_is_replaced(
    api: httpx.Client, sent: str | None
) -> None:
    headers = [] if sent is None else [(b"X-Correlation-ID", sent.encode("latin-1"))]
    made = api.get("/orders/unknown", headers=headers).headers["x-correlation-id"]
    assert made != sent
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", made)


# ── At once ───────────────────────────────────────────────────────────────────────────────────────


async def test_fifty_identical_webhooks_at_once_have_one_effect(
    service: Service, order_id: str
) -> None:
    body = order_webhook(order_id)
    async with service.connections(50) as many:
        answers = await asyncio.gather(
            *(many.post(ORDERS, content=body, headers=JSON) for _ in range(50))
        )
    outcomes = Counter((answer.status_code, answer.json()["outcome"]) for answer in answers)
    assert outcomes == {(202, "applied"): 1, (200, "duplicate"): 49}
    events = service.query("SELECT count(*) FROM order_events WHERE order_id = %s", order_id)
    assert events == [(1,)]


async def test_two_openings_with_different_ids_at_once_make_one_dispute(service: Service) -> None:
    async with service.connections(20) as many:
        for number in range(10):
            order_id = f"ord-opened-twice-{number}"
            await many.post(ORDERS, content=order_webhook(order_id), headers=JSON)
            answers = await asyncio.gather(
                *(
                    many.post(CHARGEBACKS, content=chargeback_webhook(order_id), headers=JSON)
                    for _ in range(2)
                )
            )
            assert {answer.status_code for answer in answers} == {202}
            assert len({answer.json()["dispute_id"] for answer in answers}) == 1
            listed = await many.get("/disputes", params={"order_id": order_id})
            assert len(listed.json()["items"]) == 1


async def test_a_chargeback_and_its_orders_first_webhook_at_once_leave_nothing_parked(
    service: Service,
) -> None:
    async def race(number: int) -> None:
        order_id = f"ord-race-{number}"
        pair = [(ORDERS, order_webhook(order_id)), (CHARGEBACKS, chargeback_webhook(order_id))]
        if number % 2:
            pair.reverse()
        answers = await asyncio.gather(
            *(many.post(path, content=body, headers=JSON) for path, body in pair)
        )
        assert {answer.status_code for answer in answers} == {202}

    races = 1000
    async with service.connections(16) as many:
        for start in range(0, races, 8):
            await asyncio.gather(*(race(number) for number in range(start, start + 8)))
    of_races = "order_id LIKE 'ord-race-%%'"
    assert service.query(f"SELECT count(*) FROM parked_webhooks WHERE {of_races}") == [(0,)]
    assert service.query(f"SELECT count(*) FROM disputes WHERE {of_races}") == [(races,)]
