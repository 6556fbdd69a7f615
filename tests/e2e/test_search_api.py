"""Search and analytics as callers of the API meet them, answered from PostgreSQL.

How to think about it: one small history is told by webhooks, and every test asks about it over
HTTP; what is asked wrongly is refused in words, whatever it is.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest

from payment_manager.adapters.postgres.embedded import running_url
from payment_manager.domain.dispute_id import dispute_id_of
from tests.e2e.service import Service, eventually
from tests.e2e.wire import CHARGEBACKS, ORDERS, problem_of, send, wrong_fields
from tests.webhooks import chargeback_webhook, order_webhook

JAN = {"time_from": "2026-01-01T00:00:00Z", "time_to": "2026-01-31T12:00:00Z"}
"""Webhooks of tests happen on 2026-01-02 at the provider."""

EVENT_FIELDS = [
    *("event_id", "order_id", "dispute_id", "kind", "provider_event_id"),
    *("data", "created_at", "sequence"),
]

DISPUTES = {
    # order id -> reason, amount, currency, how it was closed
    "s-usd-1": ("fraud", 100.50, "USD", "won"),
    "s-usd-2": ("fraud", 9.99, "USD", "lost"),
    "s-usd-3": ("Not as described", 1000, "USD", None),
    "s-jpy-1": ("fraud", 100, "JPY", "won"),
    "s-kwd-1": ("Not as described", 9.999, "KWD", "won"),
}


@pytest.fixture(scope="module")
def history(service: Service) -> Iterator[httpx.Client]:
    with service.client() as api:
        for id, (reason, amount, currency, resolution) in DISPUTES.items():
            fields: dict[str, Any] = {"reason": reason, "amount": amount, "currency": currency}
            meta = {"amount": str(amount), "currency": currency, "note": f"Parcel {id} lost"}
            assert send(api, ORDERS, order_webhook(id, "success", meta=meta)).status_code == 202
            opened = send(api, CHARGEBACKS, chargeback_webhook(id, **fields))
            assert opened.status_code == 202
            if resolution:
                closed = chargeback_webhook(id, "closed", 5, resolution=resolution, **fields)
                assert send(api, CHARGEBACKS, closed).status_code == 202
        send(api, ORDERS, order_webhook("s-held"))
        assert api.post("/orders/s-held/hold", json={"action": "set", "reason": "risk"}).is_success
        assert api.post("/orders/s-held/hold", json={"action": "clear"}).is_success
        yield api


def get(api: httpx.Client, path: str, **parameters: Any) -> Any:
    answer = api.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["source"] == "postgres"
    assert body["as_of"].keys() == {"time", "position"}
    assert body["as_of"]["position"].keys() == {"orders", "disputes"}
    assert ("wait_for" in body) == ("wait_for" in parameters)
    return body


def found(body: Any) -> set[str]:
    return {item["order_id"] for item in body["items"]}


# ── Events ────────────────────────────────────────────────────────────────────────────────────────


def test_events_are_shown_with_their_order_and_dispute_newest_first(history: httpx.Client) -> None:
    body = get(history, "/search/events", q="s-usd-1")
    closed, opened, order = body["items"]
    assert list(closed) == EVENT_FIELDS
    assert [each["kind"] for each in body["items"]] == [
        *("provider_decision", "webhook_opened", "webhook_received")
    ]
    assert opened["dispute_id"] == str(dispute_id_of("s-usd-1"))
    assert order["dispute_id"] is None
    assert order["data"]["payload"]["meta"]["note"] == "Parcel s-usd-1 lost"
    assert (body["next_cursor"], body["has_more"]) == ("", False)
    at = body["as_of"]["position"]
    assert at["orders"] >= len(DISPUTES)
    assert at["disputes"] >= len(DISPUTES)


def test_events_are_found_by_words_kinds_ids_and_time(history: httpx.Client) -> None:
    assert found(get(history, "/search/events", q="PARCEL s-usd-2")) == {"s-usd-2"}
    assert found(get(history, "/search/events", q="parc* usd")) == {"s-usd-1", "s-usd-2", "s-usd-3"}
    assert found(get(history, "/search/events", kinds="hold_set,hold_cleared")) == {"s-held"}
    of_order = get(history, "/search/events", order_ids="s-jpy-1")
    dispute_id = str(dispute_id_of("s-jpy-1"))
    assert [each["dispute_id"] for each in of_order["items"]] == [dispute_id, dispute_id, None]
    either = get(history, "/search/events", order_ids="s-held", dispute_ids=dispute_id)
    assert found(either) == {"s-held", "s-jpy-1"}
    first, *_, last = get(history, "/search/events")["items"]
    within = {"time_from": last["created_at"], "time_to": first["created_at"]}
    inside = get(history, "/search/events", **within)["items"]
    assert first not in inside
    assert last in inside


def test_pages_of_events_are_walked_to_the_end(history: httpx.Client) -> None:
    whole = get(history, "/search/events", q="fraud")["items"]
    walked, cursor = [], ""
    while True:
        body = get(history, "/search/events", q="fraud", limit=2, cursor=cursor)
        walked += body["items"]
        cursor = body["next_cursor"]
        assert body["has_more"] == bool(cursor)
        if not cursor:
            break
    assert walked == whole
    assert len(whole) == 6


# ── Disputes ──────────────────────────────────────────────────────────────────────────────────────


def test_disputes_are_shown_as_their_list_shows_them_with_counts_of_all(
    history: httpx.Client,
) -> None:
    body = get(history, "/search/disputes", limit=2)
    listed = history.get("/disputes", params={"limit": 2}).json()
    assert body["items"] == listed["items"]
    assert (body["has_more"], body["total"]) == (True, len(DISPUTES))
    rest = get(history, "/search/disputes", cursor=body["next_cursor"])
    assert found(body) | found(rest) == set(DISPUTES)
    assert (rest["total"], rest["facets"]) == (body["total"], body["facets"])
    assert body["facets"] == {
        "status": [
            {"value": "won", "count": 3},
            {"value": "lost", "count": 1},
            {"value": "open", "count": 1},
        ],
        "reason": [{"value": "fraud", "count": 3}, {"value": "Not as described", "count": 2}],
        "currency": [
            {"value": "USD", "count": 3},
            {"value": "JPY", "count": 1},
            {"value": "KWD", "count": 1},
        ],
        "month": [{"value": "2026-01", "count": 5}],
        "amount": [
            {"value": "0-10", "from": 0, "to": 10, "count": 2},
            {"value": "100-500", "from": 100, "to": 500, "count": 2},
            {"value": "1000-", "from": 1000, "to": None, "count": 1},
        ],
    }


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"q": "described"}, {"s-usd-3", "s-kwd-1"}),
        ({"q": "fraud", "currency": "USD"}, {"s-usd-1", "s-usd-2"}),
        ({"status": "won,lost", "currency": "USD"}, {"s-usd-1", "s-usd-2"}),
        ({"reason": "Not as described"}, {"s-usd-3", "s-kwd-1"}),
        ({"amount_range": "0-10"}, {"s-usd-2", "s-kwd-1"}),
        ({"amount_range": ["100-500", "1000-"]}, {"s-usd-1", "s-usd-3", "s-jpy-1"}),
        ({"month": "2026-01", "order_ids": "s-usd-1"}, {"s-usd-1"}),
        ({"month": "2026-02"}, set()),
        ({"time_to": "2026-01-02T10:00:00Z"}, set()),
        ({"time_from": "2026-01-02T10:00:00Z"}, set(DISPUTES)),
    ],
)
def test_disputes_are_found_by_each_filter_which_counts_in_every_facet(
    history: httpx.Client, asked: dict[str, Any], expected: set[str]
) -> None:
    body = get(history, "/search/disputes", **asked)
    assert found(body) == expected
    assert body["total"] == len(expected)
    for facet in body["facets"].values():
        assert sum(each["count"] for each in facet) == len(expected)


# ── Analytics ─────────────────────────────────────────────────────────────────────────────────────


def test_disputes_are_counted_by_time_and_reason_with_exact_amounts(history: httpx.Client) -> None:
    answer = history.get("/analytics/disputes", params={"interval": "week", **JAN})
    body = answer.json()
    assert (body["time_from"], body["time_to"]) == ("2025-12-29T00:00:00Z", "2026-02-02T00:00:00Z")
    assert len(body["by_time"]) == 5
    totals = {
        **{"opened": 5, "won": 3, "lost": 1, "win_rate": 0.75},
        "amounts": [
            {"currency": "JPY", "opened": 100, "won": 100, "lost": 0},
            {"currency": "KWD", "opened": 9.999, "won": 9.999, "lost": 0},
            {"currency": "USD", "opened": 1110.49, "won": 100.5, "lost": 9.99},
        ],
    }
    assert body["totals"] == totals
    assert body["by_time"][0] == {"start": "2025-12-29T00:00:00Z", **totals}
    nothing: dict[str, Any] = {"opened": 0, "won": 0, "lost": 0, "win_rate": None, "amounts": []}
    assert body["by_time"][1] == {"start": "2026-01-05T00:00:00Z", **nothing}
    assert [each["reason"] for each in body["by_reason"]] == ["fraud", "Not as described"]
    assert '"won":100.50,"lost":9.99' in answer.text  # with the currency's own decimals
    assert '"opened":9.999,"won":9.999,"lost":0.000' in answer.text
    assert '"opened":100,"won":100,"lost":0}' in answer.text


def test_analytics_are_about_the_reasons_and_currencies_asked_for(history: httpx.Client) -> None:
    body = get(history, "/analytics/disputes", reason="fraud", currency="USD", **JAN)
    assert (body["totals"]["opened"], body["totals"]["win_rate"]) == (2, 0.5)
    assert len(body["by_time"]) == 31
    orders = get(history, "/analytics/orders", currency="JPY", **JAN)
    assert orders["totals"]["orders"] == 1


def test_orders_are_counted_by_status_with_rates_of_holds_and_captures(
    history: httpx.Client,
) -> None:
    body = get(history, "/analytics/orders", interval="month", **JAN)
    assert body["totals"] == {
        "orders": 6,
        "by_status": {"created": 1, "updated": 0, "failed": 0, "success": 5},
        **{"on_hold": 0, "held": 1, "hold_rate": 0.1667, "captured": 0, "capture_rate": 0},
    }
    assert body["by_time"] == [{"start": "2026-01-01T00:00:00Z", **body["totals"]}]


@pytest.mark.parametrize("path", ["/analytics/disputes", "/analytics/orders"])
@pytest.mark.parametrize(("interval", "count"), [("day", 30), ("week", 26), ("month", 12)])
def test_without_a_window_the_latest_intervals_are_counted(
    history: httpx.Client, path: str, interval: str, count: int
) -> None:
    body = get(history, path, interval=interval)
    assert len(body["by_time"]) == count
    assert body["by_time"][0]["start"] == body["time_from"]
    assert body["time_from"] < body["as_of"]["time"] < body["time_to"]


# ── Waiting ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path", ["/search/events", "/search/disputes", "/analytics/disputes", "/analytics/orders"]
)
def test_an_event_can_be_waited_for(history: httpx.Client, path: str) -> None:
    event = history.get("/orders/events", params={"limit": 1}).json()["items"][0]
    body = get(history, path, wait_for=event["event_id"])
    assert body["wait_for"] == {"event_id": event["event_id"], "visible": True}


def test_an_event_that_never_comes_is_waited_for_five_seconds(history: httpx.Client) -> None:
    unknown = "00000000-0000-7000-8000-000000000000"
    answer = history.get("/search/events", params={"wait_for": unknown})
    assert answer.json()["wait_for"] == {"event_id": unknown, "visible": False}
    assert 4.5 < answer.elapsed.total_seconds() < 25


# ── What is refused ───────────────────────────────────────────────────────────────────────────────

HOSTILE = (
    *("", " ", "*", "**", "ab*", "a\x00b", "a\tb", "a\nb", "\x7f", "x" * 301, "x" * 10_000),
    *("-", "___", "()", "🙂", '"', "\\", " ".join(f"w{n}" for n in range(17))),
)
HARMLESS = (
    *("kind:*", "NOT fraud OR (", "[a TO b]", "/re.*gex/", "a && b || !c", "fraud~2 ^5", '"x y"'),
    *("%", "%25", "_id:1 %_%", "'; DROP TABLE orders; --", "{}[]x", "\\u0000x", "$ne x", "x" * 300),
    *(
        "🙂 fraud",
        "\u202efraud",
        "\ufefffraud",
        "\ufffdx",
        "e\u0301",
        "\U000e0001x",
        "a?b",
        "fraud*",
    ),
    *("\u3000x", "..\\..\\x", "x" + "()" * 100, "x" + "*" * 100, "+" * 200 + "x"),
)
PATHS = ("/search/events", "/search/disputes")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("q", HOSTILE, ids=range(len(HOSTILE)))
def test_words_that_are_none_are_refused(history: httpx.Client, path: str, q: str) -> None:
    assert wrong_fields(history.get(path, params={"q": q})) == {"q"}


@pytest.mark.parametrize("path", PATHS)
def test_whatever_else_is_typed_is_plain_words(history: httpx.Client, path: str) -> None:
    for q in HARMLESS:
        answer = history.get(path, params={"q": q})
        assert answer.status_code in (200, 400), q
        assert answer.status_code == 200 or wrong_fields(answer) == {"q"}, q
        assert answer.elapsed.total_seconds() < 10


@pytest.mark.parametrize(
    ("path", "name", "values"),
    [
        ("/search/events", "kinds", ["nonsense", "hold_set,", ""]),
        ("/search/events", "order_ids", ["a b", "events", ""]),
        ("/search/events", "dispute_ids", ["1", "s-usd-1"]),
        ("/search/events", "wait_for", ["1", "", "x" * 36, str(dispute_id_of("no event"))]),
        ("/search/events", "cursor", ["x", "🙂", "k8QI"]),
        ("/search/events", "limit", ["0", "1001", "x", "-1"]),
        ("/search/events", "time_from", ["2026-01-01", "now", "1969-12-31T23:59:59Z"]),
        ("/search/disputes", "status", ["parked"]),
        ("/search/disputes", "reason", ["", "x" * 256, "a\x00"]),
        ("/search/disputes", "currency", ["usd", "XAU", "US"]),
        ("/search/disputes", "month", ["2026-13", "2026-1", "1969-12", "2101-01", "26-01"]),
        ("/search/disputes", "amount_range", ["0-20", "100"]),
        ("/search/disputes", "order_ids", ["*"]),
        ("/analytics/disputes", "interval", ["hour", "DAY", ""]),
        ("/analytics/disputes", "currency", ["EURO"]),
        ("/analytics/disputes", "wait_for", ["never"]),
        ("/analytics/orders", "time_from", ["2020-01-01T00:00:00Z", "1970-01-01T00:00:00Z"]),
        ("/analytics/orders", "time_to", ["2026-01-01T00:00:00"]),
    ],
)
def test_a_malformed_parameter_is_named(
    history: httpx.Client, path: str, name: str, values: list[str]
) -> None:
    for value in values:
        assert wrong_fields(history.get(path, params={name: value})) == {name}, value


def test_all_that_is_wrong_is_named_at_once(history: httpx.Client) -> None:
    wrong = {"q": "*", "limit": "0", "status": "x", "month": "x", "wait_for": "x"}
    assert wrong_fields(history.get("/search/disputes", params=wrong)) == set(wrong)


@pytest.mark.parametrize("path", PATHS)
def test_a_cursor_of_another_filter_is_refused(history: httpx.Client, path: str) -> None:
    cursor = get(history, path, limit=1)["next_cursor"]
    assert cursor
    for other in ({"q": "fraud"}, {"time_from": "2026-01-01T00:00:00Z"}):
        assert wrong_fields(history.get(path, params={"cursor": cursor, **other})) == {"cursor"}
    (another,) = set(PATHS) - {path}
    assert wrong_fields(history.get(another, params={"cursor": cursor})) == {"cursor"}


def test_a_question_that_takes_too_long_is_answered_so_and_harms_nobody(
    service: Service, history: httpx.Client
) -> None:
    url = running_url(service.data_dir)
    assert url is not None
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE disputes")
        with ThreadPoolExecutor(3) as threads:
            asked = [threads.submit(history.get, "/search/disputes") for _ in range(3)]
            assert history.get("/orders").status_code == 200
            answers = [each.result() for each in asked]
    for answer in answers:
        problem_of(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.elapsed.total_seconds() < 25
    # The three may need a moment to let go of their connections.
    eventually(lambda: history.get("/search/disputes").status_code == 200)


def test_answers_are_counted_by_source_and_question(history: httpx.Client) -> None:
    get(history, "/analytics/orders")
    metrics = history.get("/metrics").text
    assert 'source="postgres"' in metrics
    assert 'question="order_analytics"' in metrics
