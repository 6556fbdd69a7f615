"""One suite, both modes: what an order and a dispute come to doesn't depend on the way there."""

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import permutations
from typing import Any
from uuid import uuid4

import httpx
import pytest
from rich.console import Console

from infra.kafka_server import KafkaServer
from payment_manager.entrypoints.demo import WIDTH_MAX, run_demo
from tests.e2e.service import SECRET
from tests.e2e.wire import CHARGEBACKS, ORDERS, problem_of, send, send_as_provider, wrong_fields
from tests.e2e_kafka.deployment import Deployment
from tests.e2e_kafka.topics import Topics
from tests.webhooks import at, chargeback_webhook, order_webhook

CAPTURE = {"amount": 100.50, "currency": "USD", "idempotency_key": "k"}
FILE = {"file_id": "file-1", "name": "receipt.pdf", "content_type": "application/pdf", "size": 9}
EVIDENCE = {"fields": {"note": SECRET}, "files": [FILE]}


@pytest.fixture(scope="module", params=["sync", "kafka"])
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    topics = None
    if request.param == "kafka":
        server: KafkaServer = request.getfixturevalue("kafka_server")
        topics = Topics(server.brokers, f"modes-{uuid4().hex[:12]}")
    deployment = Deployment(tmp_path_factory.mktemp(request.param), topics)
    try:
        yield deployment.start()
        deployment.stop()
    finally:
        deployment.clean_up()


@pytest.fixture
def deployment(running: Deployment) -> Iterator[Deployment]:
    yield running
    for service in running.services:
        service.check_log()


@pytest.fixture
def api(deployment: Deployment) -> httpx.Client:
    return deployment.operators


def deliver(deployment: Deployment, *bodies: bytes) -> None:
    """One after the other, and then until they are done with."""
    for body in bodies:
        path = CHARGEBACKS if b'"occurred_at"' in body else ORDERS
        deployment.deliver(path, body)
    deployment.settled()


def order_events(api: httpx.Client, order_id: str) -> list[dict[str, Any]]:
    asked = {"order_ids": order_id, "sort_asc": "true"}
    items: list[dict[str, Any]] = api.get("/orders/events", params=asked).json()["items"]
    return items


def dispute_events(api: httpx.Client, dispute_id: str) -> list[dict[str, Any]]:
    asked = {"dispute_ids": dispute_id, "sort_asc": "true"}
    items: list[dict[str, Any]] = api.get("/disputes/events", params=asked).json()["items"]
    return items


def dispute_of(api: httpx.Client, order_id: str) -> dict[str, Any]:
    [found] = api.get("/disputes", params={"order_id": order_id}).json()["items"]
    dispute: dict[str, Any] = found
    return dispute


def outcomes(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["kind"], event["data"]["outcome"]) for event in events]


# ── Orders ────────────────────────────────────────────────────────────────────────────────────────


def test_an_order_is_led_to_its_end_and_every_webhook_is_in_its_log(
    deployment: Deployment, api: httpx.Client, order_id: str
) -> None:
    bodies = [
        order_webhook(order_id),
        order_webhook(order_id, "updated", 5, meta={"amount": "7", "currency": "EUR"}),
        order_webhook(order_id, "success", 9, extra={"deep": [1, 1.50, None, "ü"]}, meta={}),
    ]
    deliver(deployment, *bodies)
    order = api.get(f"/orders/{order_id}").json()
    assert (order["status"], order["amount"], order["currency"]) == ("success", 7.0, "EUR")
    assert (order["created_at"], order["updated_at"]) == (at(0), at(9))
    events = order_events(api, order_id)
    assert outcomes(events) == [("webhook_received", "applied")] * 3
    assert [event["sequence"] for event in events] == [1, 2, 3]
    listed = api.get("/orders/events", params={"order_ids": order_id}).text
    assert all(body.decode() in listed for body in bodies)  # as received, byte for byte


def test_any_order_of_arrival_and_any_repetition_ends_in_the_same_row(
    deployment: Deployment, api: httpx.Client, order_id: str
) -> None:
    rows = []
    ways = list(permutations(range(3)))
    for number, way in enumerate(ways):
        one = partial(order_webhook, f"{order_id}-{number}")
        history = [
            one(provider_event_id="a"),
            one("updated", 5, meta={}, provider_event_id="b"),
            one("failed", 3, provider_event_id="c"),
        ]
        for at_place in (*way, way[0]):
            deployment.deliver(ORDERS, history[at_place])
    deployment.settled()
    for number in range(len(ways)):
        row = api.get(f"/orders/{order_id}-{number}").json()
        assert row.pop("order_id") == f"{order_id}-{number}"
        rows.append(row)
        assert len(order_events(api, f"{order_id}-{number}")) == 3  # the repeated one is no news
    assert rows[0]["status"] == "failed"
    assert all(row == rows[0] for row in rows)


def test_a_late_webhook_is_recorded_as_stale_and_changes_nothing(
    deployment: Deployment, api: httpx.Client, order_id: str
) -> None:
    deliver(deployment, order_webhook(order_id, "updated", 5))
    before = api.get(f"/orders/{order_id}").json()
    deliver(deployment, order_webhook(order_id, "created", 1))
    assert api.get(f"/orders/{order_id}").json() == before
    assert [outcome for _, outcome in outcomes(order_events(api, order_id))] == ["applied", "stale"]


def test_a_contradicting_decision_is_recorded_once_as_rejected_and_changes_nothing(
    deployment: Deployment, api: httpx.Client, order_id: str
) -> None:
    failed, success = order_webhook(order_id, "failed", 1), order_webhook(order_id, "success", 2)
    deliver(deployment, failed)
    before = api.get(f"/orders/{order_id}").json()
    deliver(deployment, success, success, failed)
    assert api.get(f"/orders/{order_id}").json() == before
    assert outcomes(order_events(api, order_id)) == [
        ("webhook_received", "applied"),
        ("webhook_rejected", "rejected"),
    ]


def test_the_same_id_for_two_orders_and_for_a_dispute_are_three_webhooks(
    deployment: Deployment, api: httpx.Client, order_id: str
) -> None:
    deliver(
        deployment,
        order_webhook(order_id, provider_event_id="same"),
        order_webhook(f"{order_id}-2", provider_event_id="same"),
        chargeback_webhook(order_id, provider_event_id="same"),
    )
    assert len(order_events(api, order_id)) == len(order_events(api, f"{order_id}-2")) == 1
    assert dispute_of(api, order_id)["status"] == "open"


# ── Disputes ──────────────────────────────────────────────────────────────────────────────────────


def test_chargebacks_wait_for_their_order_and_are_applied_with_it_as_they_were_parked(
    deployment: Deployment, api: httpx.Client, order_id: str
) -> None:
    opened = chargeback_webhook(order_id, "opened", 1)
    closed = chargeback_webhook(order_id, "closed", 9, "lost")
    won = chargeback_webhook(order_id, "closed", 8, "WON")
    said = deployment.deliver(CHARGEBACKS, closed)
    dispute_id = said["dispute_id"]
    deliver(deployment, opened, closed, won)
    problem_of(api.get(f"/disputes/{dispute_id}"), 404, "dispute_not_found")
    assert deployment.api.query(
        "SELECT count(*) FROM parked_webhooks WHERE order_id = %s", order_id
    ) == [(3,)]

    deliver(deployment, order_webhook(order_id), opened)
    dispute = api.get(f"/disputes/{dispute_id}").json()
    assert (dispute["status"], dispute["opened_at"], dispute["closed_at"]) == ("lost", at(1), at(9))
    events = dispute_events(api, dispute_id)
    assert outcomes(events) == [
        ("provider_decision", "applied"),
        ("webhook_opened", "applied"),
        ("webhook_rejected", "rejected"),
    ]
    assert all("parked_at" in event["data"] for event in events)
    assert deployment.api.query(
        "SELECT count(*) FROM parked_webhooks WHERE order_id = %s", order_id
    ) == [(0,)]


def test_a_dispute_is_led_by_both_hands_to_the_providers_decision(
    deployment: Deployment, api: httpx.Client, order_id: str
) -> None:
    due = "2026-01-30T00:00:00Z"
    deliver(deployment, order_webhook(order_id))
    deliver(deployment, chargeback_webhook(order_id, evidence_due_at=due))
    dispute_id = dispute_of(api, order_id)["dispute_id"]
    evidence = api.post(f"/disputes/{dispute_id}/evidence", json=EVIDENCE)
    assert (evidence.status_code, dispute_of(api, order_id)["status"]) == (200, "under_review")

    submitted = api.post(f"/disputes/{dispute_id}/submit", json={"idempotency_key": "s"})
    assert (submitted.status_code, submitted.json()["status"]) == (202, "submitted")
    deliver(deployment, chargeback_webhook(order_id, "updated", 3, reason="not_received"))
    assert dispute_of(api, order_id)["status"] == "submitted"
    deliver(deployment, chargeback_webhook(order_id, "closed", 9, "won"))

    dispute = dispute_of(api, order_id)
    assert (dispute["status"], dispute["reason"]) == ("won", "fraud")
    assert (dispute["evidence_due_at"], dispute["closed_at"]) == (due, at(9))
    assert [event["kind"] for event in dispute_events(api, dispute_id)] == [
        "webhook_opened", "evidence_added", "submission_requested", "evidence_submitted",
        "webhook_updated", "provider_decision",
    ]  # fmt: skip
    again = api.post(f"/disputes/{dispute_id}/evidence", json=EVIDENCE)
    problem_of(again, 409, "dispute_status")


def test_a_plain_closing_gives_way_to_a_decision_and_never_the_other_way_round(
    deployment: Deployment, api: httpx.Client, order_id: str
) -> None:
    deliver(deployment, order_webhook(order_id), chargeback_webhook(order_id, "closed", 9))
    assert dispute_of(api, order_id)["status"] == "closed"
    deliver(deployment, chargeback_webhook(order_id, "closed", 2, "canceled"))
    assert dispute_of(api, order_id)["status"] == "canceled"
    deliver(deployment, chargeback_webhook(order_id, "closed", 99))
    assert dispute_of(api, order_id)["status"] == "canceled"


# ── Operators ─────────────────────────────────────────────────────────────────────────────────────


def test_a_hold_stops_a_capture_until_it_is_cleared_and_money_moves_once(
    deployment: Deployment, api: httpx.Client, order_id: str
) -> None:
    deliver(deployment, order_webhook(order_id))
    capture, hold = f"/orders/{order_id}/capture", f"/orders/{order_id}/hold"
    assert api.post(hold, json={"action": "set", "reason": "risk"}).json()["on_hold"] is True
    problem_of(api.post(capture, json=CAPTURE), 409, "order_on_hold")
    deliver(deployment, order_webhook(order_id, "updated", 1))
    assert api.get(f"/orders/{order_id}").json()["on_hold"] is True
    assert api.post(hold, json={"action": "clear"}).json()["on_hold"] is False

    captured = api.post(capture, json=CAPTURE)
    assert (captured.status_code, captured.json()["status"]) == (200, "success")
    again = api.post(capture, json=CAPTURE)
    assert (again.json(), again.headers["idempotent-replayed"]) == (captured.json(), "true")
    with deployment.api.provider() as provider:
        assert len(provider.get("/effects", params={"order_id": order_id}).json()["items"]) == 1
    assert [event["kind"] for event in order_events(api, order_id)] == [
        "webhook_received", "hold_set", "webhook_received", "hold_cleared", "capture_requested",
        "capture_completed",
    ]  # fmt: skip


# ── Lists ─────────────────────────────────────────────────────────────────────────────────────────


def walk(api: httpx.Client, path: str, **asked: Any) -> Iterator[dict[str, Any]]:
    """All items, a few a page."""
    cursor = ""
    while True:
        page = api.get(path, params={**asked, "limit": 3, "cursor": cursor}).json()
        yield from page["items"]
        cursor = page["next_cursor"]
        if not cursor:
            return


def test_pages_show_everything_once_while_more_is_added(
    deployment: Deployment, api: httpx.Client
) -> None:
    user = str(uuid4())
    one = partial(order_webhook, user_id=user)

    def order(number: int) -> bytes:
        return one(f"{user}-{number}", created_at=at(number), updated_at=at(number))

    deliver(deployment, *map(order, range(8)))
    pages = walk(api, "/orders", user_id=user)
    seen = [next(pages)["order_id"] for _ in range(4)]
    deliver(deployment, *map(order, range(8, 12)))
    seen += [item["order_id"] for item in pages]
    assert seen == [f"{user}-{number}" for number in range(7, -1, -1)]
    assert len(list(walk(api, "/orders", user_id=user))) == 12

    asked = ",".join(f"{user}-{number}" for number in range(12))
    events = list(walk(api, "/orders/events", order_ids=asked))
    assert len({event["event_id"] for event in events}) == len(events) == 12
    times = [event["created_at"] for event in events]
    assert times == sorted(times, reverse=True)


def test_lists_filter_orders_and_disputes(deployment: Deployment, api: httpx.Client) -> None:
    user = str(uuid4())
    for number, status in enumerate(("created", "updated", "failed", "success")):
        order_id = f"{user}-{number}"
        deployment.deliver(ORDERS, order_webhook(order_id, status, number, user_id=user))
        reason = f"{user}-{number % 2}"
        deployment.deliver(CHARGEBACKS, chargeback_webhook(order_id, user_id=user, reason=reason))
    deployment.settled()
    found = api.get("/orders", params={"user_id": user, "status": ["created", "failed"]})
    assert [item["status"] for item in found.json()["items"]] in (
        ["created", "failed"],
        ["failed", "created"],
    )
    found = api.get("/disputes", params={"reason": f"{user}-1", "status": "open"})
    assert {item["order_id"] for item in found.json()["items"]} == {f"{user}-1", f"{user}-3"}


# ── Correlation ids ───────────────────────────────────────────────────────────────────────────────


def test_a_webhooks_correlation_id_is_answered_logged_where_it_is_applied_and_kept(
    deployment: Deployment, order_id: str
) -> None:
    first, second = f"chargeback.{order_id}", f"order_{order_id}"
    for path, body, taken in (
        (CHARGEBACKS, chargeback_webhook(order_id), first),
        (ORDERS, order_webhook(order_id), second),
    ):
        answer = send_as_provider(deployment.webhooks, path, body, **{"X-Correlation-ID": taken})
        assert answer.headers["x-correlation-id"] == taken
        deployment.settled()
        deployment.taking.wait_for_log("request", correlation_id=taken, order_id=order_id)
        applied_with = "webhook" if deployment.mode == "kafka" else "request"
        line = deployment.api.wait_for_log(applied_with, correlation_id=taken)
        assert (line["order_id"], line["outcome"]) == (
            order_id,
            "parked" if path == CHARGEBACKS else "applied",
        )
    [row] = deployment.api.query(
        "SELECT o.correlation_id, d.correlation_id FROM order_events AS o, dispute_events AS d"
        " JOIN disputes USING (dispute_id) WHERE o.order_id = disputes.order_id"
        " AND disputes.order_id = %s",
        order_id,
    )
    assert row == (second, first)  # the parked one keeps its own


def test_an_operators_correlation_id_reaches_the_provider(
    deployment: Deployment, api: httpx.Client, order_id: str
) -> None:
    deliver(deployment, order_webhook(order_id))
    asked_as = {"X-Correlation-ID": f"operator-{order_id}"}
    assert api.post(f"/orders/{order_id}/capture", json=CAPTURE, headers=asked_as).is_success
    with deployment.api.provider() as provider:
        [call] = provider.get("/calls", params={"order_id": order_id}).json()["items"]
    assert call["correlation_id"] == f"operator-{order_id}"


@pytest.mark.parametrize("sent", ["", "x" * 65, "semi;colon"])
def test_a_strange_correlation_id_is_replaced_by_one_that_is_kept(
    deployment: Deployment, order_id: str, sent: str
) -> None:
    answer = send_as_provider(
        deployment.webhooks, ORDERS, order_webhook(order_id), **{"X-Correlation-ID": sent}
    )
    made = answer.headers["x-correlation-id"]
    deployment.settled()
    assert made != sent
    assert deployment.api.query(
        "SELECT correlation_id FROM order_events WHERE order_id = %s", order_id
    ) == [(made,)]


# ── What is refused at the edge ───────────────────────────────────────────────────────────────────


def test_a_refused_webhook_leaves_no_trace(
    deployment: Deployment, api: httpx.Client, order_id: str
) -> None:
    webhooks = deployment.webhooks
    wrong = order_webhook(order_id, "paid", meta=[], note=SECRET)
    assert wrong_fields(send(webhooks, ORDERS, wrong)) == {"status", "meta"}
    nested = chargeback_webhook(order_id, "closed", resolution="perhaps", amount=100.555)
    assert wrong_fields(send(webhooks, CHARGEBACKS, nested)) == {"meta.resolution", "amount"}
    assert wrong_fields(send(webhooks, ORDERS, b"nonsense")) == {""}
    large = order_webhook(order_id, meta={"pad": "x" * 262_144})
    problem_of(send(webhooks, ORDERS, large), 413, "body_too_large")
    as_text = send(webhooks, ORDERS, order_webhook(order_id), **{"Content-Type": "text/plain"})
    problem_of(as_text, 415, "unsupported_media_type")
    by_get = webhooks.get(ORDERS)
    problem_of(by_get, 405, "method_not_allowed")
    assert by_get.headers["allow"] == "POST"
    deployment.settled()
    problem_of(api.get(f"/orders/{order_id}"), 404, "order_not_found")


def test_the_largest_body_is_taken(
    deployment: Deployment, api: httpx.Client, order_id: str
) -> None:
    room = 262_144 - len(order_webhook(order_id, meta={"pad": ""}))
    deliver(deployment, order_webhook(order_id, meta={"pad": "x" * (room - 9)}))
    assert api.get(f"/orders/{order_id}").status_code == 200


def test_amounts_are_shown_digit_for_digit_with_the_currencys_decimals(
    deployment: Deployment, api: httpx.Client, order_id: str
) -> None:
    deliver(deployment, order_webhook(order_id))
    body = chargeback_webhook(order_id, currency="KWD").replace(b"100.5", b"9007199254740.993")
    send(deployment.webhooks, CHARGEBACKS, body)  # more than 15 digits
    body = chargeback_webhook(order_id, currency="KWD").replace(b"100.5", b"900719925474.993")
    deliver(deployment, body)
    shown = api.get("/disputes", params={"order_id": order_id}).text
    assert '"amount":900719925474.993,"currency":"KWD"' in shown


def test_metrics_balance_and_the_log_is_proved(deployment: Deployment, order_id: str) -> None:
    """Of all that the tests above sent: nothing was killed here."""
    deployment.deliver(ORDERS, order_webhook(order_id))
    deployment.settled()
    deployment.assert_metrics_balance()
    deployment.api.verify()


async def test_the_demo_tells_the_same_story(deployment: Deployment) -> None:
    screen = io.StringIO()
    await run_demo(
        deployment.api.url,
        ingest_url=deployment.taking.url,
        now=datetime.now(UTC),
        console=Console(file=screen, width=WIDTH_MAX),
    )
    assert "17 requests, each answered as the story says" in screen.getvalue()
