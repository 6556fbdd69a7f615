"""The OpenAPI 3.1 document of the API service.

How to think about it: one table of routes, and small functions that write out what each row means.
Bodies and answers come from the types that the code itself uses, problems from the table that the
errors are made of, so what is written here is only what no type says: when, why and what for.
What the document calls valid is what the service takes; where JSON Schema can't say a rule, the
description does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from payment_manager.application.ports import Interval
from payment_manager.application.search import INTERVALS_MAX
from payment_manager.application.search_terms import QUERY_CHARACTERS_MAX, QUERY_WORDS_MAX
from payment_manager.domain.dispute import DisputeStatus
from payment_manager.domain.order import OrderStatus
from payment_manager.entrypoints.api import openapi_examples as examples
from payment_manager.entrypoints.api.openapi_schemas import NAMED, Json, page_of, ref, schemas
from payment_manager.entrypoints.api.parameters import LIMIT_DEFAULT, LIMIT_MAX
from payment_manager.entrypoints.api.search import MONTH
from payment_manager.entrypoints.http.problem_pages import PROBLEMS

# ── Parameters ────────────────────────────────────────────────────────────────────────────────────


def _query(name: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _query_list(name: str, items: Json, description: str) -> Json:
    schema = {"type": "array", "items": items}
    said = f"{description} May repeat or be comma-separated; at most 1000 values in all lists."
    return _query(name, schema, said) | {"style": "form", "explode": True}


def _path(name: str, schema: Json, description: str) -> Json:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "schema": schema,
        "description": description,
    }


def _shared(name: str) -> Json:
    return {"$ref": f"#/components/parameters/{name}"}


_UUID: Json = {"type": "string", "format": "uuid"}
# `events` isn't excluded: as a path it is another route, and not refused.
_ORDER_ID_IN_PATH: Json = {"type": "string", "pattern": NAMED["OrderId"]["pattern"]}
# A comma separates reasons in the list, so a reason that has one can't be asked for.
_REASON: Json = {"type": "string", "pattern": r"^[^,\x00-\x1f\x7f-\x9f]{1,255}$"}

_TEXT = r"^[^\x00-\x1f\x7f-\x9f]*$"

_PARAMETERS: dict[str, Json] = {
    "OrderIdInPath": _path("order_id", _ORDER_ID_IN_PATH, "The order's id at the provider.")
    | {"example": examples.ORDER_ID},
    "DisputeIdInPath": _path("dispute_id", _UUID, "The dispute's id, as lists and answers show it.")
    | {"example": examples.DISPUTE_ID},
    "Limit": _query(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
        "How many items a page has at most.",
    ),
    "Cursor": _query(
        "cursor",
        {"type": "string"},
        "`next_cursor` of the page before, with the same filter and order. Opaque; one that "
        "belongs to another filter is 400. Empty means the first page.",
    ),
    "TimeFrom": _query("time_from", ref("Time"), "Only events recorded at this time or later."),
    "TimeTo": _query("time_to", ref("Time"), "Only events recorded before this time."),
    "SortAscending": _query(
        "sort_asc", {"type": "boolean", "default": False}, "Oldest first instead of newest first."
    ),
    "Words": _query(
        "q",
        # What else must hold is in the words.
        {"type": "string", "minLength": 1, "maxLength": QUERY_CHARACTERS_MAX, "pattern": _TEXT},
        "Words that must all be there, in any letter case: whole ids, or runs of letters and "
        "digits. A `*` at a word's end, behind at least three letters or digits, stands for any "
        f"word that begins like this. At most {QUERY_WORDS_MAX} words; nothing else is an "
        "operator.",
    ),
    "WaitFor": _query(
        "wait_for",
        _UUID,
        "An event's id, which is a UUID of version 7. Waits until the event is among what is "
        "asked, for five seconds at most; the answer says whether it is.",
    ),
    "Interval": _query(
        "interval",
        {"type": "string", "enum": [*Interval], "default": "day"},
        "In UTC; a week begins on Monday.",
    ),
    "IntervalsFrom": _query(
        "time_from",
        ref("Time"),
        "The first interval is the one that this time lies in. Without it, 30 days, 26 weeks or 12 "
        "months are counted.",
    ),
    "IntervalsTo": _query(
        "time_to",
        ref("Time"),
        "The last interval is the one that ends at this time or that it lies in. Without it, the "
        "present one.",
    ),
    "Currencies": _query_list("currency", ref("Currency"), "In these currencies."),
    "CorrelationId": {
        "name": "X-Correlation-ID",
        "in": "header",
        "schema": {"type": "string"},
        "description": "Names the request in logs, at the provider and in the answer. At most 64 "
        "characters of `[A-Za-z0-9._-]`; anything else is replaced by a new one.",
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "schema": {
            "type": "string",
            # A structured-field string in quotes, or the bare key.
            "pattern": r'^([!#-~]([ -~]{0,253}[!-~])?|"([ !#-\[\]-~]|\\["\\]){1,255}")$',
        },
        "description": "The key, quoted or bare: 1 to 255 printable ASCII characters. It may stand "
        "in for the body's `idempotency_key`; with both, they must agree.",
    },
}

_PAGING = (_shared("Limit"), _shared("Cursor"))
_EVENT_WINDOW = tuple(map(_shared, ("TimeFrom", "TimeTo", "SortAscending", "Limit", "Cursor")))

# ── Answers ───────────────────────────────────────────────────────────────────────────────────────

_HEADERS: dict[str, Json] = {
    "CorrelationId": {
        "description": "The request's correlation id: the one that was sent, or a new one.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        "example": examples.CORRELATION_ID,
    },
    "RetryAfter": {
        "description": "Seconds to wait before the same request is sent again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
        "example": 1,
    },
    "IdempotentReplayed": {
        "description": "The answer of an earlier request with the same key; nothing was done now.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}
_REPLAYED = ("Idempotent-Replayed", "IdempotentReplayed")


def _headers(*more: tuple[str, str]) -> Json:
    return {
        name: {"$ref": f"#/components/headers/{shared}"}
        for name, shared in (("X-Correlation-ID", "CorrelationId"), *more)
    }


def _named(values: examples.Examples) -> Json:
    return {name: {"value": value} for name, value in values.items()}


def _answer(
    description: str, schema: Json, shown: examples.Examples, *headers: tuple[str, str]
) -> Json:
    content = {"application/json": {"schema": schema, "examples": _named(shown)}}
    return {"description": description, "headers": _headers(*headers), "content": content}


def _text(description: str, media_type: str, **others: Json) -> Json:
    content = {media_type: {"schema": {"type": "string"}}, **others}
    return {"description": description, "headers": _headers(), "content": content}


def _page(item: str, example: Json) -> Json:
    return _answer("One page.", page_of(item), examples.page(example))


def _problem_example(code: str) -> Json:
    kind = PROBLEMS[code]
    invalid = {"errors": examples.INVALID_FIELDS} if code == "invalid_request" else {}
    return {
        "type": f"/problems/{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.meaning,
        "code": code,
        "correlation_id": examples.CORRELATION_ID,
        **invalid,
    }


def _problems(codes: Sequence[str]) -> dict[str, Json]:
    """The answers with a problem, by status. A status with several codes has an example of each."""

    def status(code: str) -> int:
        return PROBLEMS[code].status

    answers = {}
    for each, found in groupby(sorted(codes, key=status), key=status):
        of_status = list(found)
        content = {
            "application/problem+json": {
                "schema": ref("Problem"),
                "examples": _named({code: _problem_example(code) for code in of_status}),
            }
        }
        answers[str(each)] = {
            "description": "\n".join(f"- `{code}`: {PROBLEMS[code].title}." for code in of_status),
            "headers": _headers(*([("Retry-After", "RetryAfter")] if each == 503 else [])),
            "content": content,
        }
    return answers


# ── Routes ────────────────────────────────────────────────────────────────────────────────────────

_OF_A_BODY = ("invalid_request", "request_timeout", "body_too_large", "unsupported_media_type")
_OF_THE_DATABASE = ("unavailable", "overloaded")


@dataclass(frozen=True, slots=True)
class Route:
    """`answers`: by status, all but the problems, which are named by their codes."""

    method: str
    path: str
    operation_id: str
    tag: str
    summary: str
    answers: Mapping[int, Json]
    problems: Sequence[str] = ()
    description: str = ""
    parameters: Sequence[Json] = ()
    body: str | None = None
    body_examples: examples.Examples = field(default_factory=dict)
    body_required: bool = True


_WEBHOOKS = (
    Route(
        "post",
        "/webhooks/payments/orders",
        "takeOrderWebhook",
        "Webhooks",
        "Take a snapshot of a payment order",
        description="May arrive late, twice or in any order: the state comes out the same. "
        "`applied` changed something, `stale` did not, and both are recorded. Where "
        "`meta.amount` (number or string) and `meta.currency` are valid money, they are the "
        "order's amount.",
        body="OrderWebhook",
        body_examples=examples.ORDER_WEBHOOKS,
        answers={
            200: _answer(
                "Taken before, with the same content.",
                ref("WebhookAnswer"),
                examples.ORDER_DUPLICATE,
            ),
            202: _answer("Durably taken.", ref("WebhookAnswer"), examples.ORDER_TAKEN),
        },
        problems=(*_OF_A_BODY, "webhook_conflict", "decision_contradicts", *_OF_THE_DATABASE),
    ),
    Route(
        "post",
        "/webhooks/payments/chargebacks",
        "takeChargebackWebhook",
        "Webhooks",
        "Take a notice about a chargeback",
        description="The notice of an order that is not known yet is `parked`, and applied in the "
        "moment the order appears. `closed` without `meta.resolution` ends the dispute as plain "
        "`closed`.",
        body="ChargebackWebhook",
        body_examples=examples.CHARGEBACK_WEBHOOKS,
        answers={
            200: _answer(
                "Taken before, with the same content.",
                ref("WebhookAnswer"),
                examples.CHARGEBACK_DUPLICATE,
            ),
            202: _answer("Durably taken.", ref("WebhookAnswer"), examples.CHARGEBACK_TAKEN),
        },
        problems=(*_OF_A_BODY, "webhook_conflict", "decision_contradicts", *_OF_THE_DATABASE),
    ),
)

_ORDERS = (
    Route(
        "get",
        "/orders",
        "listOrders",
        "Orders",
        "List orders",
        parameters=(
            _query_list("status", {"type": "string", "enum": [*OrderStatus]}, "Of these statuses."),
            _query_list("user_id", _UUID, "Of these users."),
            _query("on_hold", {"type": "boolean"}, "On hold or not."),
            _query(
                "sort_by",
                {"type": "string", "enum": ["created_at", "updated_at"], "default": "created_at"},
                "Which of the provider's times sorts the list.",
            ),
            _query(
                "sort_order",
                {"type": "string", "enum": ["asc", "desc"], "default": "desc"},
                "Newest first unless it says `asc`.",
            ),
            *_PAGING,
        ),
        answers={200: _page("OrderView", examples.ORDER)},
        problems=("invalid_request", *_OF_THE_DATABASE),
    ),
    Route(
        "get",
        "/orders/events",
        "listOrderEvents",
        "Orders",
        "List events of orders",
        description="The log is the authority: folding an order's events by `sequence` gives its "
        "row. `time_from` ≤ t < `time_to`.",
        parameters=(
            _query_list("order_ids", ref("OrderId"), "Of these orders."),
            _query_list("kinds", ref("OrderEventKind"), "Of these kinds."),
            *_EVENT_WINDOW,
        ),
        answers={200: _page("OrderEventView", examples.ORDER_EVENT)},
        problems=("invalid_request", *_OF_THE_DATABASE),
    ),
    Route(
        "get",
        "/orders/{order_id}",
        "getOrder",
        "Orders",
        "Read one order",
        parameters=(_shared("OrderIdInPath"),),
        answers={200: _answer("The order.", ref("OrderView"), {"order": examples.ORDER})},
        problems=("order_not_found", *_OF_THE_DATABASE),
    ),
    Route(
        "post",
        "/orders/{order_id}/hold",
        "holdOrder",
        "Orders",
        "Set or clear a hold",
        description="An order on hold can't be captured. Repeating a hold changes nothing and "
        "answers with the first time; another reason is a change. Clearing is always possible.",
        parameters=(_shared("OrderIdInPath"),),
        body="HoldRequest",
        body_examples=examples.HOLDS,
        answers={200: _answer("The hold as it is now.", ref("HoldAnswer"), examples.HELD)},
        problems=(*_OF_A_BODY, "order_not_found", "order_final", *_OF_THE_DATABASE),
    ),
    Route(
        "post",
        "/orders/{order_id}/capture",
        "captureOrder",
        "Orders",
        "Capture an order at the provider",
        description="The idempotency key is needed, in the body or as a header. However often a "
        "request is repeated with its key, the provider captures once. A request that was refused "
        "(4xx) doesn't use up its key; after a `failed` capture another key may try. An order "
        "without an amount may be captured for any.",
        parameters=(_shared("OrderIdInPath"), _shared("IdempotencyKey")),
        body="CaptureRequest",
        body_examples=examples.CAPTURES,
        answers={
            200: _answer(
                "The provider's answer.", ref("CaptureAnswer"), examples.CAPTURED, _REPLAYED
            ),
            202: _answer(
                "The provider's answer is not known yet; it is asked until it is. Ask again with "
                "the same key.",
                ref("CaptureAnswer"),
                examples.CAPTURE_PENDING,
            ),
        },
        problems=(
            *_OF_A_BODY,
            "order_not_found",
            "order_on_hold",
            "order_final",
            "already_captured",
            "capture_in_progress",
            "idempotency_key_reused",
            "amount_exceeds_order",
            "currency_mismatch",
            *_OF_THE_DATABASE,
        ),
    ),
)

_DISPUTES = (
    Route(
        "get",
        "/disputes",
        "listDisputes",
        "Disputes",
        "List disputes",
        description="In the order in which they were recorded, newest first.",
        parameters=(
            _query_list(
                "status", {"type": "string", "enum": [*DisputeStatus]}, "Of these statuses."
            ),
            _query_list("reason", _REASON, "With these reasons."),
            _query_list("order_id", ref("OrderId"), "Of these orders."),
            _query("due_before", ref("Time"), "Whose evidence is due before this time."),
            *_PAGING,
        ),
        answers={200: _page("DisputeView", examples.DISPUTE)},
        problems=("invalid_request", *_OF_THE_DATABASE),
    ),
    Route(
        "get",
        "/disputes/events",
        "listDisputeEvents",
        "Disputes",
        "List events of disputes",
        description="Folding a dispute's events by `sequence` gives its row. "
        "`time_from` ≤ t < `time_to`.",
        parameters=(
            _query_list("dispute_ids", _UUID, "Of these disputes."),
            _query_list("kinds", ref("DisputeEventKind"), "Of these kinds."),
            *_EVENT_WINDOW,
        ),
        answers={200: _page("DisputeEventView", examples.DISPUTE_EVENT)},
        problems=("invalid_request", *_OF_THE_DATABASE),
    ),
    Route(
        "get",
        "/disputes/{dispute_id}",
        "getDispute",
        "Disputes",
        "Read one dispute",
        parameters=(_shared("DisputeIdInPath"),),
        answers={200: _answer("The dispute.", ref("DisputeView"), {"dispute": examples.DISPUTE})},
        problems=("dispute_not_found", *_OF_THE_DATABASE),
    ),
    Route(
        "get",
        "/disputes/{dispute_id}/evidence",
        "getEvidence",
        "Disputes",
        "Read a dispute's evidence",
        parameters=(_shared("DisputeIdInPath"),),
        answers={200: _answer("The evidence.", ref("EvidenceView"), examples.EVIDENCE_STORED)},
        problems=("dispute_not_found", "evidence_not_found", *_OF_THE_DATABASE),
    ),
    Route(
        "post",
        "/disputes/{dispute_id}/evidence",
        "replaceEvidence",
        "Disputes",
        "Replace a dispute's evidence",
        description="The whole evidence: what is left out is empty afterwards, and one of `fields` "
        "and `files` must be there. Each `file_id` stands once. Moves an `open` dispute to "
        "`under_review`. Repeating it changes nothing.",
        parameters=(_shared("DisputeIdInPath"),),
        body="EvidenceRequest",
        body_examples=examples.EVIDENCE,
        answers={200: _answer("The evidence.", ref("EvidenceView"), examples.EVIDENCE_STORED)},
        problems=(
            *_OF_A_BODY,
            "dispute_not_found",
            "dispute_status",
            "submission_in_progress",
            *_OF_THE_DATABASE,
        ),
    ),
    Route(
        "post",
        "/disputes/{dispute_id}/submit",
        "submitEvidence",
        "Disputes",
        "Send the representment to the provider",
        description="Sends the evidence once, however often it is asked for. While the provider's "
        "answer is unknown it is `pending`, and asking again says so. A body is not needed.",
        parameters=(_shared("DisputeIdInPath"), _shared("IdempotencyKey")),
        body="SubmitRequest",
        body_examples=examples.SUBMISSIONS,
        body_required=False,
        answers={
            202: _answer(
                "How far it is, or what the provider said.",
                ref("SubmitAnswer"),
                examples.SUBMITTED,
                _REPLAYED,
            )
        },
        problems=(
            *_OF_A_BODY,
            "dispute_not_found",
            "dispute_status",
            "no_evidence",
            "no_evidence_file",
            *_OF_THE_DATABASE,
        ),
    ),
)

_SEARCH = (
    Route(
        "get",
        "/search/events",
        "searchEvents",
        "Search",
        "Search all events",
        description="Newest first. `order_ids` also finds the events of the orders' disputes. "
        "`time_from` ≤ t < `time_to`. A page may be short, even empty, where `has_more` says that "
        "the search goes on: without OpenSearch the words are looked for in the log, for a second "
        "and a half a page. A single word that is the id of an order, a dispute or an event leads "
        "to its own events at once; what else has it in its metadata is then found in the newest "
        "part of the log only.",
        parameters=(
            _shared("Words"),
            _query_list("kinds", ref("EventKind"), "Of these kinds."),
            _query_list("order_ids", ref("OrderId"), "Of these orders and their disputes."),
            _query_list("dispute_ids", _UUID, "Of these disputes."),
            *map(_shared, ("TimeFrom", "TimeTo", "Limit", "Cursor", "WaitFor")),
        ),
        answers={200: _answer("One page.", ref("EventsAnswer"), examples.EVENTS_FOUND)},
        problems=("invalid_request", *_OF_THE_DATABASE),
    ),
    Route(
        "get",
        "/search/disputes",
        "searchDisputes",
        "Search",
        "Search disputes, and count them by what they have",
        description="In the order in which they were recorded, newest first. Words are looked for "
        "in ids and reasons. Every filter applies to the page, to `total` and to each facet. A "
        "dispute's time and month are those of `opened_at`, or of its recording where the provider "
        "never said when it was opened.",
        parameters=(
            _shared("Words"),
            _query_list(
                "status", {"type": "string", "enum": [*DisputeStatus]}, "Of these statuses."
            ),
            _query_list("reason", _REASON, "With these reasons."),
            _shared("Currencies"),
            _query_list(
                "month", {"type": "string", "pattern": f"^({MONTH.pattern})$"}, "Of these months."
            ),
            _query_list("amount_range", ref("AmountRange"), "With amounts in these ranges."),
            _query_list("order_ids", ref("OrderId"), "Of these orders."),
            _query("time_from", ref("Time"), "Only disputes of this time or later."),
            _query("time_to", ref("Time"), "Only disputes before this time."),
            *map(_shared, ("Limit", "Cursor", "WaitFor")),
        ),
        answers={
            200: _answer(
                "One page, and counts of all.", ref("DisputesAnswer"), examples.DISPUTES_FOUND
            )
        },
        problems=("invalid_request", *_OF_THE_DATABASE),
    ),
    Route(
        "get",
        "/analytics/disputes",
        "countDisputes",
        "Search",
        "Count disputes opened, won and lost",
        description="By interval and by reason (the 50 most frequent). Opened ones count when they "
        "were opened, won and lost ones when they were closed. The bounds are widened to whole "
        f"intervals, at most {INTERVALS_MAX}.",
        parameters=(
            *map(_shared, ("Interval", "IntervalsFrom", "IntervalsTo")),
            _query_list("reason", _REASON, "With these reasons."),
            *map(_shared, ("Currencies", "WaitFor")),
        ),
        answers={
            200: _answer("The counts.", ref("DisputeAnalyticsAnswer"), examples.DISPUTES_COUNTED)
        },
        problems=("invalid_request", *_OF_THE_DATABASE),
    ),
    Route(
        "get",
        "/analytics/orders",
        "countOrders",
        "Search",
        "Count orders by status, held and captured",
        description="By interval of the provider's `created_at`. The bounds are widened to whole "
        f"intervals, at most {INTERVALS_MAX}.",
        parameters=(
            *map(_shared, ("Interval", "IntervalsFrom", "IntervalsTo", "Currencies", "WaitFor")),
        ),
        answers={200: _answer("The counts.", ref("OrderAnalyticsAnswer"), examples.ORDERS_COUNTED)},
        problems=("invalid_request", *_OF_THE_DATABASE),
    ),
)

_OPERATIONS = (
    Route(
        "get",
        "/health/live",
        "getLiveness",
        "Operations",
        "Is the process alive",
        answers={
            200: _answer("It is.", ref("Health"), {"live": {"status": "ok"}}),
            503: _answer(
                "In Kafka mode: a consumer has not turned for a minute; a restart helps.",
                ref("Health"),
                {"stuck": {"status": "stuck", "checks": {"order_consumer": "stuck"}}},
            ),
        },
    ),
    Route(
        "get",
        "/health/ready",
        "getReadiness",
        "Operations",
        "Can work be taken now",
        answers={
            200: _answer(
                "It can.",
                ref("Health"),
                {"ready": {"status": "ready", "checks": {"postgres": "ok"}}},
            ),
            503: _answer(
                "It can't; the checks say why.",
                ref("Health"),
                {"unavailable": {"status": "unavailable", "checks": {"postgres": "unreachable"}}},
            ),
        },
    ),
    Route(
        "get",
        "/metrics",
        "getMetrics",
        "Operations",
        "What Prometheus scrapes",
        answers={200: _text("All metrics, in Prometheus' text format.", "text/plain")},
    ),
    Route(
        "get",
        "/openapi.json",
        "getOpenApi",
        "Operations",
        "This document",
        answers={200: _answer("OpenAPI 3.1.", {"type": "object"}, {})},
    ),
    Route(
        "get",
        "/docs",
        "getDocs",
        "Operations",
        "This document as a page to try things on",
        answers={200: _text("A page that works offline.", "text/html")},
    ),
    Route(
        "get",
        "/problems/{code}",
        "explainProblem",
        "Operations",
        "What a problem's `type` refers to",
        parameters=(_path("code", {"type": "string", "enum": [*PROBLEMS]}, "A problem's `code`."),),
        answers={
            200: _text(
                "What the problem means and what to do, as a page or as JSON (by `Accept`).",
                "text/html",
                **{"application/json": {"schema": {"type": "object"}}},
            )
        },
        problems=("not_found",),
    ),
)

ROUTES = (*_WEBHOOKS, *_ORDERS, *_DISPUTES, *_SEARCH, *_OPERATIONS)

# ── The document ──────────────────────────────────────────────────────────────────────────────────

_ABOUT = """\
A payment provider's webhooks become orders and disputes, and operators work them from here.

- **Money** is a JSON number in major units with an ISO 4217 code, exact: `100.50`, `"USD"`.
- **Time** is RFC 3339 with an offset; answers are in UTC.
- **Pages** end with `next_cursor`, which is handed back as `cursor` with the same filter.
- **Errors** are `application/problem+json` (RFC 9457). `type` refers to a page that explains the
  problem, `code` is for programs, `errors` names every wrong field at once. That also goes for
  unknown paths (404), wrong methods (405) and what nobody foresaw (500).
- Every answer carries `X-Correlation-ID`.
"""

_TAGS = {
    "Webhooks": "What the provider tells us. In sync mode this service takes it: applied and "
    "committed, then answered. In Kafka mode Ingest serves the same two routes, with the same "
    "problems but for conflicts and contradictions, and answers `accepted` once all in-sync "
    "replicas have it.",
    "Orders": "Payment orders, their events, holds and captures.",
    "Disputes": "Cases about chargebacks, their events, evidence and representments.",
    "Search": "All events and disputes by what they say, and counts of disputes and orders. Every "
    "answer says from which `source` it comes and how far that was (`as_of`): from OpenSearch, or, "
    "without it and whenever it is away, from PostgreSQL: the same answers, slower.",
    "Operations": "For those who run the service, and for those who read about it.",
}


def _operation(route: Route) -> Json:
    answers = {str(status): answer for status, answer in route.answers.items()}
    operation: Json = {
        "operationId": route.operation_id,
        "tags": [route.tag],
        "summary": route.summary,
        "parameters": [*route.parameters, _shared("CorrelationId")],
        "responses": answers | _problems(route.problems),
    }
    if route.description:
        operation["description"] = route.description
    if route.body:
        content = {"schema": ref(route.body), "examples": _named(route.body_examples)}
        operation["requestBody"] = {
            "required": route.body_required,
            "content": {"application/json": content},
        }
    return operation


def document(version: str) -> dict[str, Any]:
    """The whole document, ready to be encoded as JSON. `version` is the service's."""
    paths: dict[str, Json] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Distributed Payment Manager",
            "version": version,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": paths,
        "components": {"schemas": schemas(), "parameters": _PARAMETERS, "headers": _HEADERS},
    }
