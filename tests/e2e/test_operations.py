"""What operators ask and do, over HTTP: lists, logs, holds, captures, disputes, health."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from tests.e2e.service import SECRET, Service, eventually
from tests.e2e.wire import CHARGEBACKS, ORDERS, problem_of, send, wrong_fields
from tests.webhooks import at, chargeback_webhook, order_webhook

CAPTURE = {"amount": 100.50, "currency": "USD"}
FILE = {"file_id": "file-1", "name": "receipt.pdf", "content_type": "application/pdf", "size": 9}
EVIDENCE = {"fields": {"note": SECRET}, "files": [FILE]}


def pages(api: httpx.Client, path: str, **asked: Any) -> Iterator[list[dict[str, Any]]]:
    """The items of each page, from the first to the last."""
    cursor = ""
    while True:
        page = api.get(path, params={**asked, "cursor": cursor}).json()
        yield page["items"]
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor != "")
        if not cursor:
            return


def listed(api: httpx.Client, path: str, **asked: Any) -> list[dict[str, Any]]:
    return [item for page in pages(api, path, **asked) for item in page]


def ids(items: list[dict[str, Any]], name: str = "order_id") -> list[str]:
    return [item[name] for item in items]


def kinds(api: httpx.Client, order_id: str) -> list[str]:
    asked = {"order_ids": order_id, "sort_asc": "true"}
    return [event["kind"] for event in listed(api, "/orders/events", **asked)]


@pytest.fixture
def order(api: httpx.Client, order_id: str) -> str:
    """An order of 100.50 USD."""
    assert send(api, ORDERS, order_webhook(order_id)).status_code == 202
    return order_id


@pytest.fixture
def dispute(api: httpx.Client, order: str) -> str:
    """The id of an open dispute."""
    return str(send(api, CHARGEBACKS, chargeback_webhook(order)).json()["dispute_id"])


# ── Lists of orders ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def user(api: httpx.Client) -> str:
    """Somebody with twelve orders: three of each status, one created a minute after the other."""
    user = str(uuid4())
    for number in range(12):
        status = ("created", "updated", "failed", "success")[number % 4]
        # Updated in the other direction, so that the two sort orders differ.
        body = order_webhook(
            f"{user}-{number:02}", status, 99 - number, user_id=user, created_at=at(number)
        )
        assert send(api, ORDERS, body).status_code == 202
    return user


def numbers(items: list[dict[str, Any]]) -> list[int]:
    return [int(item["order_id"][-2:]) for item in items]


def test_orders_are_listed_newest_first_and_sorted_as_asked(api: httpx.Client, user: str) -> None:
    by_creation = list(range(11, -1, -1))
    assert numbers(listed(api, "/orders", user_id=user)) == by_creation
    assert numbers(listed(api, "/orders", user_id=user, sort_order="asc")) == by_creation[::-1]
    by_update = listed(api, "/orders", user_id=user, sort_by="updated_at", limit=5)
    assert numbers(by_update) == by_creation[::-1]
    assert (
        numbers(
            listed(api, "/orders", user_id=user, sort_by="updated_at", sort_order="asc", limit=1)
        )
        == by_creation
    )


def test_orders_are_filtered_by_status_user_and_hold(api: httpx.Client, user: str) -> None:
    repeated = listed(api, "/orders", user_id=user, status=["created", "failed"])
    assert numbers(repeated) == [10, 8, 6, 4, 2, 0]
    assert listed(api, "/orders", user_id=user, status="failed,created") == repeated
    hold = {"action": "set", "reason": "risk"}
    for number in (4, 5):
        assert api.post(f"/orders/{user}-{number:02}/hold", json=hold).status_code == 200
    assert numbers(listed(api, "/orders", user_id=user, on_hold="true")) == [5, 4]
    assert len(listed(api, "/orders", user_id=user, on_hold="false")) == 10
    assert numbers(listed(api, "/orders", user_id=user, on_hold="true", status="created")) == [4]
    assert len(listed(api, "/orders", user_id=f"{user},{uuid4()}")) == 12
    assert listed(api, "/orders", user_id=str(uuid4())) == []


def test_a_walk_shows_each_order_once_while_others_are_added(api: httpx.Client, user: str) -> None:
    seen: list[int] = []
    for step, page in enumerate(pages(api, "/orders", user_id=user, limit=3)):
        seen += numbers(page)
        newer = order_webhook(f"{user}-{50 + step}", user_id=user, created_at=at(60 + step))
        older = order_webhook(f"{user}-{70 + step}", user_id=user, created_at=at(-60 - step))
        send(api, ORDERS, newer)
        send(api, ORDERS, older)
    assert seen[:12] == list(range(11, -1, -1))
    assert len(seen) == len(set(seen))  # what was added behind the place may come, once
    assert all(number >= 70 for number in seen[12:])


def test_orders_of_one_moment_are_neither_skipped_nor_shown_twice(api: httpx.Client) -> None:
    user = str(uuid4())
    for number in range(7):
        send(api, ORDERS, order_webhook(f"{user}-{number:02}", user_id=user))
    assert numbers(listed(api, "/orders", user_id=user, limit=2)) == [6, 5, 4, 3, 2, 1, 0]


def test_a_cursor_belongs_to_its_filter_and_the_limit_is_no_part_of_it(
    api: httpx.Client, user: str
) -> None:
    first = api.get("/orders", params={"user_id": user, "limit": 3}).json()
    cursor = first["next_cursor"]
    same = api.get("/orders", params={"user_id": user, "limit": 5, "cursor": cursor})
    assert numbers(same.json()["items"]) == [8, 7, 6, 5, 4]
    for other in (
        {"user_id": user, "status": "created"},
        {"user_id": str(uuid4())},
        {"user_id": user, "sort_order": "asc"},
        {"user_id": user, "sort_by": "updated_at"},
        {"user_id": user, "on_hold": "false"},
    ):
        assert wrong_fields(api.get("/orders", params={**other, "cursor": cursor})) == {"cursor"}
    assert wrong_fields(api.get("/disputes", params={"cursor": cursor})) == {"cursor"}
    assert wrong_fields(api.get("/orders/events", params={"cursor": cursor})) == {"cursor"}


@pytest.mark.parametrize(
    ("path", "query", "fields"),
    [
        ("/orders", "cursor=garbage", {"cursor"}),
        ("/orders", "cursor=%F0%9F%98%80", {"cursor"}),
        ("/orders", "cursor=" + "A" * 5000, {"cursor"}),
        ("/orders", "limit=0", {"limit"}),
        ("/orders", "limit=1001", {"limit"}),
        ("/orders", "limit=1.5", {"limit"}),
        ("/orders", "limit=", {"limit"}),
        ("/orders", "limit=%D9%A1", {"limit"}),
        ("/orders", "limit=1&limit=2", {"limit"}),
        ("/orders", "status=paid", {"status"}),
        ("/orders", "status=", {"status"}),
        ("/orders", "user_id=me&on_hold=yes&sort_by=id&sort_order=up&limit=x",
         {"user_id", "on_hold", "sort_by", "sort_order", "limit"}),
        ("/orders/events", "order_ids=a%00b", {"order_ids"}),
        ("/orders/events", "kinds=hold", {"kinds"}),
        ("/orders/events", "kinds=submission_failed", {"kinds"}),
        ("/orders/events", "time_from=yesterday&time_to=2026-01-01T00:00:00&sort_asc=1",
         {"time_from", "time_to", "sort_asc"}),
        ("/disputes", "status=created&order_id=events&due_before=0",
         {"status", "order_id", "due_before"}),
        ("/disputes", "reason=%0A", {"reason"}),
        ("/disputes/events", "dispute_ids=1&kinds=hold_set", {"dispute_ids", "kinds"}),
    ],
)  # fmt: skip
def test_every_malformed_parameter_is_named(
    api: httpx.Client, path: str, query: str, fields: set[str]
) -> None:
    assert wrong_fields(api.get(f"{path}?{query}")) == fields


def test_an_order_shows_what_the_provider_said(api: httpx.Client, order: str) -> None:
    assert api.get(f"/orders/{order}").json() == {
        "order_id": order,
        "user_id": "11111111-1111-1111-1111-111111111111",
        "status": "created",
        "on_hold": False,
        "hold_reason": None,
        "amount": 100.5,
        "currency": "USD",
        "capture": None,
        "created_at": at(0),
        "updated_at": at(0),
    }
    assert '"amount":100.50,' in api.get(f"/orders/{order}").text


# ── Events ────────────────────────────────────────────────────────────────────────────────────────


def test_events_are_filtered_and_their_windows_are_half_open(api: httpx.Client, order: str) -> None:
    for minute in (1, 2, 3):
        send(api, ORDERS, order_webhook(order, "updated", minute))
    api.post(f"/orders/{order}/hold", json={"action": "set", "reason": "risk"})
    events = listed(api, "/orders/events", order_ids=order, sort_asc="true", limit=2)
    assert [event["sequence"] for event in events] == [1, 2, 3, 4, 5]
    assert all(UUID(event["event_id"]).version == 7 for event in events)
    assert listed(api, "/orders/events", order_ids=order) == events[::-1]
    window = {"time_from": events[1]["created_at"], "time_to": events[3]["created_at"]}
    inside = listed(api, "/orders/events", order_ids=order, sort_asc="true", **window)
    assert inside == events[1:3]
    assert listed(api, "/orders/events", order_ids=order, kinds="hold_set") == events[4:]
    both = listed(api, "/orders/events", order_ids=order, kinds="hold_set,webhook_received")
    assert both == events[::-1]
    elsewhere = api.get("/orders/events", params={"order_ids": f"{order},other", "limit": 1})
    assert elsewhere.json()["items"] == events[4:]
    upside_down = {"time_from": window["time_to"], "time_to": window["time_from"]}
    assert listed(api, "/orders/events", order_ids=order, **upside_down) == []


def test_all_events_can_be_walked_in_both_directions(api: httpx.Client, order: str) -> None:
    upwards = ids(listed(api, "/orders/events", sort_asc="true", limit=7), "event_id")
    downwards = ids(listed(api, "/orders/events", limit=1000), "event_id")
    assert len(upwards) == len(set(upwards))
    assert upwards == downwards[::-1]


def test_a_page_of_large_events_is_cut_by_its_bytes_and_the_walk_shows_them_all(
    api: httpx.Client, order_id: str
) -> None:
    for minute in range(150):
        body = order_webhook(order_id, "updated", minute, meta={"pad": "x" * 100_000})
        assert send(api, ORDERS, body).status_code == 202
    asked: dict[str, Any] = {"order_ids": order_id, "limit": 1000, "sort_asc": "true"}
    first = api.get("/orders/events", params=asked)
    assert len(first.content) < 12_000_000
    assert first.json()["has_more"] is True
    walked = listed(api, "/orders/events", **asked)
    assert [event["sequence"] for event in walked] == list(range(1, 151))


def test_a_time_with_an_unescaped_plus_is_understood(api: httpx.Client, order: str) -> None:
    answer = api.get("/orders/events?time_from=2026-01-01T00:00:00+01:00&limit=1")
    assert answer.status_code == 200


# ── Holds ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_hold_is_set_changed_and_cleared_and_a_repeat_is_no_news(
    api: httpx.Client, order: str
) -> None:
    def hold(**asked: str) -> dict[str, Any]:
        answer = api.post(f"/orders/{order}/hold", json=asked)
        assert answer.status_code == 200
        body: dict[str, Any] = answer.json()
        return body

    never = hold(action="clear")
    assert never == {"order_id": order, "on_hold": False, "reason": None, "updated_at": None}
    first = hold(action="set", reason="risk")
    assert (first["on_hold"], first["reason"]) == (True, "risk")
    assert hold(action="set", reason="risk") == first
    changed = hold(action="set", reason="manual_review")
    assert changed["updated_at"] > first["updated_at"]
    shown = api.get(f"/orders/{order}").json()
    assert (shown["on_hold"], shown["hold_reason"]) == (True, "manual_review")
    assert shown["updated_at"] == at(0)  # the provider's time
    cleared = hold(action="clear")
    assert hold(action="clear") == cleared
    assert kinds(api, order) == ["webhook_received", "hold_set", "hold_set", "hold_cleared"]


def test_a_final_order_takes_no_hold_but_lets_one_go(api: httpx.Client, order: str) -> None:
    set_it = {"action": "set", "reason": "risk"}
    api.post(f"/orders/{order}/hold", json=set_it)
    send(api, ORDERS, order_webhook(order, "success", 1))
    problem_of(
        api.post(f"/orders/{order}/hold", json={**set_it, "reason": "manual_review"}),
        409,
        "order_final",
    )
    assert api.post(f"/orders/{order}/hold", json={"action": "clear"}).json()["on_hold"] is False
    problem_of(api.post(f"/orders/{order}/hold", json=set_it), 409, "order_final")


def test_what_is_wrong_with_a_hold_is_named(api: httpx.Client, order: str) -> None:
    hold = f"/orders/{order}/hold"
    assert wrong_fields(api.post(hold, json={})) == {"action"}
    assert wrong_fields(api.post(hold, json={"action": "set"})) == {"reason"}
    assert wrong_fields(api.post(hold, json={"action": "no", "reason": 1})) == {"action", "reason"}
    assert wrong_fields(api.post(hold, json=[])) == {""}
    answer = api.post("/orders/unknown/hold", json={"action": "clear"})
    problem_of(answer, 404, "order_not_found")
    problem_of(
        api.post(hold, content=b"{}", headers={"Content-Type": "text/plain"}),
        415,
        "unsupported_media_type",
    )


# ── Captures ──────────────────────────────────────────────────────────────────────────────────────


def test_a_capture_is_done_and_a_repeat_is_a_replay(
    api: httpx.Client, provider: httpx.Client, order: str
) -> None:
    asked = {**CAPTURE, "idempotency_key": "k"}
    first = api.post(f"/orders/{order}/capture", json=asked, headers={"X-Correlation-ID": "c-1"})
    answer = first.json()
    assert first.status_code == 200
    assert "idempotent-replayed" not in first.headers
    assert answer["provider_tx_id"].startswith("txn-")
    assert {**answer, "provider_tx_id": None, "captured_at": None} == {
        "order_id": order, "amount": 100.5, "currency": "USD", "status": "success",
        "provider_tx_id": None, "captured_at": None, "error": None,
    }  # fmt: skip
    again = api.post(f"/orders/{order}/capture", json=asked)
    assert (again.status_code, again.json()) == (200, answer)
    assert again.headers["idempotent-replayed"] == "true"
    [call] = provider.get("/calls", params={"order_id": order}).json()["items"]
    assert call["correlation_id"] == "c-1"
    capture = api.get(f"/orders/{order}").json()["capture"]
    assert capture == {key: answer[key] for key in capture}
    assert kinds(api, order) == ["webhook_received", "capture_requested", "capture_completed"]


@pytest.mark.parametrize("header", ["k-1", '"k-1"'])
def test_the_key_may_come_as_a_header_quoted_or_bare(
    api: httpx.Client, order: str, header: str
) -> None:
    path = f"/orders/{order}/capture"
    first = api.post(path, json=CAPTURE, headers={"Idempotency-Key": header})
    assert first.json()["status"] == "success"
    both = {"Idempotency-Key": header}
    again = api.post(path, json={**CAPTURE, "idempotency_key": "k-1"}, headers=both)
    assert again.headers["idempotent-replayed"] == "true"
    other = api.post(path, json={**CAPTURE, "idempotency_key": "k-2"}, headers=both)
    assert wrong_fields(other) == {"idempotency_key"}


def test_a_capture_without_a_key_or_with_a_bad_one_is_refused(
    api: httpx.Client, order: str
) -> None:
    path = f"/orders/{order}/capture"
    assert wrong_fields(api.post(path, json=CAPTURE)) == {"idempotency_key"}
    for key in ("", "x" * 256, "ä", "a\nb"):
        answer = api.post(path, json={**CAPTURE, "idempotency_key": key})
        assert wrong_fields(answer) == {"idempotency_key"}
    for key in ('""', '"open', "x" * 256, "\xe4"):
        headers = [(b"Idempotency-Key", key.encode("latin-1"))]
        assert wrong_fields(api.post(path, json=CAPTURE, headers=headers)) == {"Idempotency-Key"}
    assert wrong_fields(api.post(path, json={"idempotency_key": "k"})) == {"amount", "currency"}
    assert kinds(api, order) == ["webhook_received"]


def test_a_refused_capture_says_why_and_leaves_its_key_unused(
    api: httpx.Client, provider: httpx.Client, order: str
) -> None:
    path, asked = f"/orders/{order}/capture", {**CAPTURE, "idempotency_key": "k"}
    problem_of(api.post("/orders/unknown/capture", json=asked), 404, "order_not_found")
    api.post(f"/orders/{order}/hold", json={"action": "set", "reason": "risk"})
    problem_of(api.post(path, json=asked), 409, "order_on_hold")
    api.post(f"/orders/{order}/hold", json={"action": "clear"})
    problem_of(api.post(path, json={**asked, "amount": 100.51}), 422, "amount_exceeds_order")
    problem_of(api.post(path, json={**asked, "currency": "EUR"}), 422, "currency_mismatch")
    assert api.post(path, json=asked).json()["status"] == "success"
    problem_of(api.post(path, json={**asked, "amount": 1}), 422, "idempotency_key_reused")
    problem_of(api.post(path, json={**asked, "idempotency_key": "k2"}), 409, "already_captured")
    send(api, ORDERS, order_webhook(order, "success", 1))
    assert api.post(path, json=asked).headers["idempotent-replayed"] == "true"
    assert len(provider.get("/effects", params={"order_id": order}).json()["items"]) == 1


def test_a_final_order_is_not_captured(api: httpx.Client, order: str) -> None:
    send(api, ORDERS, order_webhook(order, "failed", 1))
    asked = {**CAPTURE, "idempotency_key": "k"}
    problem_of(api.post(f"/orders/{order}/capture", json=asked), 409, "order_final")


def test_a_declined_capture_is_failed_and_another_key_may_try(
    api: httpx.Client, provider: httpx.Client, order: str
) -> None:
    provider.post("/faults", json={"fault": "decline", "times": 1})
    path, asked = f"/orders/{order}/capture", {**CAPTURE, "idempotency_key": "k"}
    failed = api.post(path, json=asked)
    assert (failed.status_code, failed.json()["status"]) == (200, "failed")
    assert failed.json()["error"]
    assert api.post(path, json=asked).json() == failed.json()
    assert api.post(path, json={**asked, "idempotency_key": "k2"}).json()["status"] == "success"
    assert api.post(path, json=asked).json() == failed.json()


def test_a_capture_is_pending_while_the_answer_is_unknown_and_known_in_the_end(
    api: httpx.Client, provider: httpx.Client, order: str
) -> None:
    provider.post("/faults", json={"fault": "error_500"})
    path, asked = f"/orders/{order}/capture", {**CAPTURE, "idempotency_key": "k"}
    for _ in range(2):
        pending = api.post(path, json=asked)
        assert (pending.status_code, pending.json()["status"]) == (202, "pending")
        assert "idempotent-replayed" not in pending.headers
    assert api.get(f"/orders/{order}").json()["capture"]["status"] == "pending"
    problem_of(api.post(path, json={**asked, "idempotency_key": "k2"}), 409, "capture_in_progress")
    problem_of(api.post(path, json={**asked, "amount": 1}), 422, "idempotency_key_reused")
    provider.delete("/faults")
    eventually(lambda: api.post(path, json=asked).json()["status"] == "success")
    assert kinds(api, order) == ["webhook_received", "capture_requested", "capture_completed"]


# ── Disputes ──────────────────────────────────────────────────────────────────────────────────────


def test_disputes_are_listed_newest_recorded_first_with_every_filter(api: httpx.Client) -> None:
    mark = f"reason {uuid4()}"
    made = []
    for number in range(5):
        order_id = f"ord-{uuid4()}"
        send(api, ORDERS, order_webhook(order_id))
        due = f"2026-03-0{number + 1}T00:00:00Z"
        # Told in the opposite order of their times: the time of recording counts.
        body = chargeback_webhook(order_id, minute=9 - number, reason=mark, evidence_due_at=due)
        made.append(send(api, CHARGEBACKS, body).json())
    newest_first = ids(made, "dispute_id")[::-1]
    assert ids(listed(api, "/disputes", reason=mark, limit=2), "dispute_id") == newest_first
    early = listed(api, "/disputes", reason=mark, due_before="2026-03-03T00:00:00Z")
    assert ids(early, "dispute_id") == newest_first[3:]
    two = [made[0]["order_id"], made[1]["order_id"]]
    assert ids(listed(api, "/disputes", order_id=two), "dispute_id") == newest_first[3:]
    send(api, CHARGEBACKS, chargeback_webhook(two[0], "closed", 20, "won", reason=mark))
    assert ids(listed(api, "/disputes", reason=mark, status="won"), "order_id") == two[:1]
    assert len(listed(api, "/disputes", reason=mark, status=["won", "open"])) == 5
    first = api.get("/disputes", params={"reason": mark, "limit": 1}).json()
    other = {"reason": mark, "status": "open", "cursor": first["next_cursor"]}
    assert wrong_fields(api.get("/disputes", params=other)) == {"cursor"}


def test_evidence_is_replaced_as_a_whole_and_a_repeat_is_no_news(
    api: httpx.Client, dispute: str
) -> None:
    path = f"/disputes/{dispute}/evidence"
    problem_of(api.get(path), 404, "evidence_not_found")
    first = api.post(path, json=EVIDENCE)
    assert first.status_code == 200
    assert {**first.json(), "updated_at": None} == {
        "dispute_id": dispute, **EVIDENCE, "updated_at": None,
    }  # fmt: skip
    assert api.get(path).json() == first.json() == api.post(path, json=EVIDENCE).json()
    assert api.get(f"/disputes/{dispute}").json()["status"] == "under_review"
    fields_only = api.post(path, json={"fields": {"a": "b"}}).json()
    assert (fields_only["fields"], fields_only["files"]) == ({"a": "b"}, [])
    events = listed(api, "/disputes/events", dispute_ids=dispute, sort_asc="true")
    assert [event["kind"] for event in events] == [
        "webhook_opened", "evidence_added", "evidence_added",
    ]  # fmt: skip
    assert [event["sequence"] for event in events] == [1, 2, 3]


def test_what_is_wrong_with_evidence_is_named(api: httpx.Client, dispute: str) -> None:
    path = f"/disputes/{dispute}/evidence"
    assert wrong_fields(api.post(path, json={})) == {""}
    assert wrong_fields(api.post(path, json={"files": [FILE, FILE]})) == {"files"}
    bad = {"files": [{**FILE, "size": -1}, {**FILE, "file_id": ""}], "fields": {"a": 1}}
    assert wrong_fields(api.post(path, json=bad)) == {
        "files.0.size", "files.1.file_id", "fields.a",
    }  # fmt: skip
    problem_of(api.post(f"/disputes/{uuid4()}/evidence", json=EVIDENCE), 404, "dispute_not_found")
    problem_of(api.get(f"/disputes/{uuid4()}/evidence"), 404, "dispute_not_found")


def test_a_representment_is_submitted_once(
    api: httpx.Client, provider: httpx.Client, order: str, dispute: str
) -> None:
    submit, evidence = f"/disputes/{dispute}/submit", f"/disputes/{dispute}/evidence"
    problem_of(api.post(submit), 422, "no_evidence")
    api.post(evidence, json={"fields": {"a": "b"}})
    problem_of(api.post(submit), 422, "no_evidence_file")
    api.post(evidence, json=EVIDENCE)
    first = api.post(submit, headers={"Idempotency-Key": "s-1", "X-Correlation-ID": "c-2"})
    assert (first.status_code, first.json()["status"]) == (202, "submitted")
    again = api.post(submit, json={"idempotency_key": "s-1"})
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    problem_of(api.post(submit, json={"idempotency_key": "s-2"}), 409, "dispute_status")
    problem_of(api.post(evidence, json=EVIDENCE), 409, "dispute_status")
    shown = api.get(f"/disputes/{dispute}").json()
    assert (shown["status"], shown["submitting_id"]) == ("submitted", first.json()["submission_id"])
    assert shown["submitted_at"] == first.json()["submitted_at"]
    [call] = provider.get("/calls", params={"order_id": order}).json()["items"]
    assert call["correlation_id"] == "c-2"
    send(api, CHARGEBACKS, chargeback_webhook(order, "closed", 30, "won"))
    assert api.get(f"/disputes/{dispute}").json()["status"] == "won"


def test_a_refused_submission_says_why_and_may_be_tried_again(
    api: httpx.Client, provider: httpx.Client, dispute: str
) -> None:
    api.post(f"/disputes/{dispute}/evidence", json=EVIDENCE)
    provider.post("/faults", json={"fault": "file_not_ready", "times": 1})
    refused = api.post(f"/disputes/{dispute}/submit")
    assert (refused.status_code, refused.json()["status"]) == (202, "submission_error")
    assert "File not ready" in refused.json()["error"]
    assert api.post(f"/disputes/{dispute}/submit").json()["status"] == "submitted"


def test_a_pending_submission_answers_the_same_and_ends_known(
    api: httpx.Client, provider: httpx.Client, order: str, dispute: str
) -> None:
    submit, evidence = f"/disputes/{dispute}/submit", f"/disputes/{dispute}/evidence"
    api.post(evidence, json=EVIDENCE)
    provider.post("/faults", json={"fault": "drop_after"})
    for body in (None, {"idempotency_key": "other"}, None):
        pending = api.post(submit, json=body) if body else api.post(submit)
        assert (pending.status_code, pending.json()["status"]) == (202, "pending")
    problem_of(api.post(evidence, json={"fields": {}}), 409, "submission_in_progress")
    provider.delete("/faults")
    shown = eventually(lambda: api.get(f"/disputes/{dispute}").json()["submitting_id"])
    [effect] = provider.get("/effects", params={"order_id": order}).json()["items"]
    assert effect["answer"]["id"] == shown


def test_a_decision_ends_the_asking(
    api: httpx.Client, provider: httpx.Client, order: str, dispute: str
) -> None:
    api.post(f"/disputes/{dispute}/evidence", json=EVIDENCE)
    provider.post("/faults", json={"fault": "drop_before"})
    assert api.post(f"/disputes/{dispute}/submit").json()["status"] == "pending"
    send(api, CHARGEBACKS, chargeback_webhook(order, "closed", 30, "lost"))
    events = listed(api, "/disputes/events", dispute_ids=dispute, kinds="submission_failed")
    assert len(events) == 1
    problem_of(api.post(f"/disputes/{dispute}/submit"), 409, "dispute_status")


# ── Operations ────────────────────────────────────────────────────────────────────────────────────


def test_health_says_that_it_lives_and_is_ready(api: httpx.Client) -> None:
    assert api.get("/health/live").json() == {"status": "ok"}
    ready = api.get("/health/ready")
    assert (ready.status_code, ready.json()["checks"]) == (200, {"postgres": "ok"})


def test_every_accepted_webhook_is_counted_under_what_it_came_to(
    service: Service, api: httpx.Client
) -> None:
    def counted() -> Counter[str]:
        pattern = r"^payment_manager_webhooks_(?:accepted_)?total\{(.*)\} ([0-9.]+)$"
        found: Counter[str] = Counter()
        for labels, value in re.findall(pattern, api.get("/metrics").text, re.MULTILINE):
            outcome = re.search(r'outcome="([a-z]+)"', labels)
            found[outcome[1] if outcome else "accepted"] += int(float(value))
        return found

    before = counted()
    order_id, other = f"ord-{uuid4()}", f"ord-{uuid4()}"
    created = order_webhook(order_id, provider_event_id="e")
    send(api, ORDERS, created)
    send(api, ORDERS, created)
    send(api, ORDERS, order_webhook(order_id, "updated", provider_event_id="e"))
    send(api, ORDERS, order_webhook(order_id, "success", 5))
    send(api, ORDERS, order_webhook(order_id, "failed", 6))
    send(api, ORDERS, order_webhook(order_id, "updated", 1))
    send(api, CHARGEBACKS, chargeback_webhook(other))
    send(api, CHARGEBACKS, b"nonsense")
    made = counted()
    made.subtract(before)
    assert made == {
        "accepted": 6, "applied": 2, "stale": 1, "duplicate": 1, "rejected": 1, "parked": 1,
        "conflict": 1, "invalid": 1,
    }  # fmt: skip
    taken = ("applied", "stale", "duplicate", "rejected", "parked")
    now = counted()
    assert now["accepted"] == sum(now[outcome] for outcome in taken)


def test_the_documentation_needs_no_network(api: httpx.Client) -> None:
    document = api.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert {ORDERS, CHARGEBACKS, "/orders", "/disputes/{dispute_id}/submit"} <= document[
        "paths"
    ].keys()
    page = api.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    assert loaded
    for reference in loaded:
        assert "//" not in reference
        assert api.get(page.url.join(reference)).status_code == 200, reference


def test_times_are_answered_in_utc_and_cut_to_microseconds(
    api: httpx.Client, order_id: str
) -> None:
    late = "2026-01-02T23:59:59.9999999+05:30"
    send(api, ORDERS, order_webhook(order_id, updated_at=late))
    shown = api.get(f"/orders/{order_id}").json()["updated_at"]
    assert shown == "2026-01-02T18:29:59.999999Z"
    moment = datetime.fromisoformat(shown)
    assert moment.utcoffset() == timedelta(0)


def test_a_body_without_content_type_is_taken_for_json(api: httpx.Client, order_id: str) -> None:
    assert api.post(ORDERS, content=order_webhook(order_id)).status_code == 202
