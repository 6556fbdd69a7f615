"""What requests and answers look like: one payment and its chargeback, from webhook to decision.

How to think about it: the OpenAPI document shows these, and whoever reads it copies them. So they
tell one story, with ids that fit together, and a test sends each request to the code that will
read it.
"""

from typing import Any

from payment_manager.domain.dispute_id import dispute_id_of

ORDER_ID = "ord-1001"
USER_ID = "7b7e4a43-6f0c-4f0a-9a55-0f9a4d1f7a10"
DISPUTE_ID = str(dispute_id_of(ORDER_ID))
CORRELATION_ID = "4f1c2a9be0d34f7c8a55d1e6b7c8d9e0"

Examples = dict[str, Any]
"""Name -> value. The name is what a reader chooses from, so it says what the example shows."""

# ── Requests ──────────────────────────────────────────────────────────────────────────────────────

ORDER_WEBHOOKS: Examples = {
    "created": {
        "provider_event_id": "evt-1",
        "order_id": ORDER_ID,
        "user_id": USER_ID,
        "status": "created",
        "created_at": "2026-01-02T10:00:00Z",
        "updated_at": "2026-01-02T10:00:00Z",
        "meta": {"amount": "100.50", "currency": "USD"},
    },
    "success": {
        "provider_event_id": "evt-2",
        "order_id": ORDER_ID,
        "user_id": USER_ID,
        "status": "success",
        "created_at": "2026-01-02T10:00:00Z",
        "updated_at": "2026-01-02T10:05:30.250+01:00",
        "meta": {"amount": 100.50, "currency": "USD", "channel": "web"},
    },
}

CHARGEBACK_WEBHOOKS: Examples = {
    "opened": {
        "provider_event_id": "evt-9",
        "order_id": ORDER_ID,
        "user_id": USER_ID,
        "status": "opened",
        "reason": "fraud",
        "amount": 100.50,
        "currency": "USD",
        "occurred_at": "2026-01-09T10:00:00Z",
        "evidence_due_at": "2026-01-30T00:00:00Z",
        "meta": {},
    },
    "closed_won": {
        "provider_event_id": "evt-10",
        "order_id": ORDER_ID,
        "user_id": USER_ID,
        "status": "closed",
        "reason": "fraud",
        "amount": 100.50,
        "currency": "USD",
        "occurred_at": "2026-02-14T09:00:00Z",
        "meta": {"resolution": "won"},
    },
}

HOLDS: Examples = {
    "set": {"action": "set", "reason": "manual_review"},
    "clear": {"action": "clear"},
}

CAPTURES: Examples = {
    "whole_amount": {"amount": 100.50, "currency": "USD", "idempotency_key": "capture-ord-1001-1"},
}

EVIDENCE: Examples = {
    "fields_and_a_file": {
        "fields": {"customer_name": "Ada Example", "shipping_date": "2026-01-03"},
        "files": [
            {
                "file_id": "file-1",
                "name": "receipt.pdf",
                "content_type": "application/pdf",
                "size": 48213,
            }
        ],
    },
    "fields_only": {"fields": {"customer_name": "Ada Example"}},
}

SUBMISSIONS: Examples = {"with_a_key": {"idempotency_key": "submit-1"}, "without": {}}

# ── Answers ───────────────────────────────────────────────────────────────────────────────────────


def _outcomes(dispute_id: str | None, *outcomes: str) -> Examples:
    return {
        outcome: {"outcome": outcome, "order_id": ORDER_ID, "dispute_id": dispute_id}
        for outcome in outcomes
    }


def page(item: Any) -> Examples:
    more = "k8QIQx8m2n9Q0aLW_2lQ4wCmZXZ0LTE"
    return {
        "last_page": {"items": [item], "next_cursor": "", "has_more": False},
        "more_to_come": {"items": [item], "next_cursor": more, "has_more": True},
    }


ORDER_TAKEN = _outcomes(None, "applied", "stale", "accepted")
ORDER_DUPLICATE = _outcomes(None, "duplicate")
CHARGEBACK_TAKEN = _outcomes(DISPUTE_ID, "applied", "stale", "parked", "accepted")
CHARGEBACK_DUPLICATE = _outcomes(DISPUTE_ID, "duplicate")

ORDER: dict[str, Any] = {
    "order_id": ORDER_ID,
    "user_id": USER_ID,
    "status": "success",
    "on_hold": False,
    "hold_reason": None,
    "amount": 100.50,
    "currency": "USD",
    "capture": {
        "status": "success",
        "amount": 100.50,
        "currency": "USD",
        "provider_tx_id": "txn-5f2c",
        "captured_at": "2026-01-02T10:04:00Z",
    },
    "created_at": "2026-01-02T10:00:00Z",
    "updated_at": "2026-01-02T10:05:30.25Z",
}

ORDER_EVENT: dict[str, Any] = {
    "event_id": "019b7f3a-5c00-7a31-8f24-1c2d3e4f5a6b",
    "order_id": ORDER_ID,
    "kind": "webhook_received",
    "provider_event_id": "evt-1",
    "data": {"outcome": "applied", "payload": ORDER_WEBHOOKS["created"]},
    "created_at": "2026-01-02T10:00:00.120Z",
    "sequence": 1,
}

HELD: Examples = {
    "held": {
        "order_id": ORDER_ID,
        "on_hold": True,
        "reason": "manual_review",
        "updated_at": "2026-01-02T10:01:00Z",
    },
    "never_held": {"order_id": ORDER_ID, "on_hold": False, "reason": None, "updated_at": None},
}

_CAPTURE = {"order_id": ORDER_ID, "amount": 100.50, "currency": "USD"}
CAPTURED: Examples = {
    "success": _CAPTURE
    | {
        "status": "success",
        "provider_tx_id": "txn-5f2c",
        "captured_at": "2026-01-02T10:04:00Z",
        "error": None,
    },
    "failed": _CAPTURE
    | {
        "status": "failed",
        "provider_tx_id": "txn-5f2d",
        "captured_at": None,
        "error": "The provider declined the capture.",
    },
}
CAPTURE_PENDING: Examples = {
    "pending": _CAPTURE
    | {"status": "pending", "provider_tx_id": None, "captured_at": None, "error": None},
}

DISPUTE: dict[str, Any] = {
    "dispute_id": DISPUTE_ID,
    "order_id": ORDER_ID,
    "status": "submitted",
    "reason": "fraud",
    "amount": 100.50,
    "currency": "USD",
    "opened_at": "2026-01-09T10:00:00Z",
    "evidence_due_at": "2026-01-30T00:00:00Z",
    "submitted_at": "2026-01-12T15:30:00Z",
    "closed_at": None,
    "submitting_id": "sg-subm-1",
}

DISPUTE_EVENT: dict[str, Any] = {
    "event_id": "019ba31e-4400-7c52-9d11-2b3c4d5e6f70",
    "dispute_id": DISPUTE_ID,
    "kind": "webhook_opened",
    "provider_event_id": "evt-9",
    "data": {"outcome": "applied", "payload": CHARGEBACK_WEBHOOKS["opened"]},
    "created_at": "2026-01-09T10:00:00.310Z",
    "sequence": 1,
}

EVIDENCE_STORED: Examples = {
    "evidence": EVIDENCE["fields_and_a_file"]
    | {"dispute_id": DISPUTE_ID, "updated_at": "2026-01-12T15:00:00Z"},
}

SUBMITTED: Examples = {
    "submitted": {
        "submission_id": "sg-subm-1",
        "status": "submitted",
        "submitted_at": "2026-01-12T15:30:00Z",
        "error": None,
    },
    "pending": {
        "submission_id": None,
        "status": "pending",
        "submitted_at": None,
        "error": None,
    },
    "refused_by_the_provider": {
        "submission_id": None,
        "status": "submission_error",
        "submitted_at": None,
        "error": "2.01: File not ready",
    },
}

_AS_OF = {
    "as_of": {"time": "2026-02-14T09:00:02.5Z", "position": {"orders": 48210, "disputes": 3077}}
}
_WAITED = {"wait_for": {"event_id": DISPUTE_EVENT["event_id"], "visible": True}}

_FOUND_EVENT = DISPUTE_EVENT | {"order_id": ORDER_ID}
EVENTS_FOUND: Examples = {
    "found": {"source": "opensearch", **_AS_OF, **_WAITED, **page(_FOUND_EVENT)["last_page"]},
    "more_to_come": {"source": "postgres", **_AS_OF, **page(_FOUND_EVENT)["more_to_come"]},
}

DISPUTES_FOUND: Examples = {
    "found": {
        "source": "opensearch",
        **_AS_OF,
        **page(DISPUTE)["last_page"],
        "total": 1,
        "facets": {
            "status": [{"value": "submitted", "count": 1}],
            "reason": [{"value": "fraud", "count": 1}],
            "currency": [{"value": "USD", "count": 1}],
            "month": [{"value": "2026-01", "count": 1}],
            "amount": [{"value": "100-500", "from": 100, "to": 500, "count": 1}],
        },
    },
}

_MONTHS = {
    "interval": "month",
    "time_from": "2026-01-01T00:00:00Z",
    "time_to": "2026-03-01T00:00:00Z",
}


def _dispute_counts(opened: int, won: int, lost: int, rate: float | None) -> dict[str, Any]:
    return {
        **{"opened": opened, "won": won, "lost": lost, "win_rate": rate},
        "amounts": [
            {
                "currency": "USD",
                "opened": 100.50 * opened,
                "won": 100.50 * won,
                "lost": 100.50 * lost,
            }
        ],
    }


DISPUTES_COUNTED: Examples = {
    "by_month": {
        "source": "opensearch",
        **_AS_OF,
        **_MONTHS,
        "totals": _dispute_counts(4, 2, 1, 0.6667),
        "by_time": [
            {"start": "2026-01-01T00:00:00Z", **_dispute_counts(3, 0, 0, None)},
            {"start": "2026-02-01T00:00:00Z", **_dispute_counts(1, 2, 1, 0.6667)},
        ],
        "by_reason": [{"reason": "fraud", **_dispute_counts(4, 2, 1, 0.6667)}],
    }
}


def _order_counts(created: int, success: int, held: int, captured: int) -> dict[str, Any]:
    orders = created + success
    return {
        "orders": orders,
        "by_status": {"created": created, "updated": 0, "failed": 0, "success": success},
        "on_hold": 0,
        "held": held,
        "hold_rate": held / orders,
        "captured": captured,
        "capture_rate": captured / orders,
    }


ORDERS_COUNTED: Examples = {
    "by_month": {
        "source": "postgres",
        **_AS_OF,
        **_MONTHS,
        "totals": _order_counts(3, 5, 1, 4),
        "by_time": [
            {"start": "2026-01-01T00:00:00Z", **_order_counts(0, 4, 1, 3)},
            {"start": "2026-02-01T00:00:00Z", **_order_counts(3, 1, 0, 1)},
        ],
    }
}

INVALID_FIELDS = [
    {"field": "status", "message": "must be 'created', 'updated', 'failed' or 'success'"},
    {"field": "updated_at", "message": "is required"},
]
