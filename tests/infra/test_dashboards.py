"""The dashboard: whole in itself, true to the indices, right in what it asks, and imported or not
with a word why. Dashboards itself can't run here, so its part is told by what it would send.
"""

import email.message
import email.policy
import http.server
import json
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from infra.dashboards import DASHBOARD, ImportFailed, __main__, import_into, saved_objects
from infra.opensearch_server import OpenSearchServer
from payment_manager.adapters.opensearch.documents import identity, source
from payment_manager.adapters.opensearch.mappings import index_of
from payment_manager.application.ports import DisputeState, Document, LoggedEvent, OrderState
from payment_manager.domain.currencies import MINOR_UNITS
from payment_manager.domain.money import Money, to_decimal
from payment_manager.settings import Settings, load
from tests.opensearch import IndexNames

OBJECTS = saved_objects(load(Settings))
BY_KEY = {(found["type"], found["id"]): found for found in OBJECTS}
VISUALISATIONS = [found for found in OBJECTS if found["type"] == "visualization"]
PATTERNS = [found for found in OBJECTS if found["type"] == "index-pattern"]

Json = dict[str, Any]

SECONDS_MAX = 60.0
"""For an answer of OpenSearch: a cold one on a busy machine takes its time."""


def title(saved: Json) -> str:
    return str(saved["id"])


def fields_of(pattern: Json) -> dict[str, Json]:
    return {field["name"]: field for field in json.loads(pattern["attributes"]["fields"])}


def pattern_of(visualisation: Json) -> Json:
    (reference,) = visualisation["references"]
    return BY_KEY[reference["type"], reference["id"]]


def state_of(visualisation: Json) -> Json:
    state: Json = json.loads(visualisation["attributes"]["visState"])
    return state


# ── Whole in itself ──────────────────────────────────────────────────────────────────────────────


def test_every_object_is_there_once_and_every_reference_leads_to_one() -> None:
    assert len(BY_KEY) == len(OBJECTS)
    for saved in OBJECTS:
        for reference in saved["references"]:
            assert (reference["type"], reference["id"]) in BY_KEY


def test_the_dashboard_shows_every_visualisation_and_no_two_on_one_spot() -> None:
    dashboard = BY_KEY["dashboard", DASHBOARD]
    shown = {reference["name"]: reference["id"] for reference in dashboard["references"]}
    panels = json.loads(dashboard["attributes"]["panelsJSON"])
    assert {shown[panel["panelRefName"]] for panel in panels} == set(map(title, VISUALISATIONS))
    taken = Counter(
        (panel["gridData"]["x"] + right, panel["gridData"]["y"] + down)
        for panel in panels
        for right in range(panel["gridData"]["w"])
        for down in range(panel["gridData"]["h"])
    )
    assert set(taken.values()) == {1}
    assert max(x for x, _ in taken) < 48, "a dashboard is 48 columns wide"


@pytest.mark.parametrize("visualisation", VISUALISATIONS, ids=title)
def test_a_visualisation_finds_its_index_pattern_and_names_itself_alike(
    visualisation: Json,
) -> None:
    attributes = visualisation["attributes"]
    source = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])
    (reference,) = visualisation["references"]
    assert source["indexRefName"] == reference["name"]
    assert state_of(visualisation)["title"] == attributes["title"]
    json.loads(attributes["uiStateJSON"])


@pytest.mark.parametrize("visualisation", VISUALISATIONS, ids=title)
def test_a_visualisation_uses_fields_that_are_there_and_can_be_used_so(visualisation: Json) -> None:
    fields = fields_of(pattern_of(visualisation))
    wanted = {"date_histogram": {"date"}, "sum": {"number"}, "terms": {"string", "boolean"}}
    aggregations = state_of(visualisation)["aggs"]
    assert len({each["id"] for each in aggregations}) == len(aggregations)
    for each in aggregations:
        if each["type"] != "count":
            field = fields[each["params"]["field"]]
            assert field["aggregatable"]
            assert field["type"] in wanted[each["type"]]


def test_the_patterns_are_the_four_indices_in_the_settings_own_names() -> None:
    names = IndexNames.under("other")
    given: dict[str, Any] = {name.lower(): value for name, value in names.environment.items()}
    titles = {
        found["attributes"]["title"]
        for found in saved_objects(load(Settings, **given))
        if found["type"] == "index-pattern"
    }
    assert titles == {names.events_orders, names.events_disputes, names.orders, names.disputes}
    for pattern in PATTERNS:
        assert fields_of(pattern)[pattern["attributes"]["timeFieldName"]]["type"] == "date"


# ── True to the indices, and right ───────────────────────────────────────────────────────────────

NOW = datetime(2026, 5, 20, 12, tzinfo=UTC)
ALIASES = {
    Document.ORDER_EVENT: "events-orders",
    Document.DISPUTE_EVENT: "events-disputes",
    Document.ORDER: "orders",
    Document.DISPUTE: "disputes",
}


def dispute(
    month: int, status: str, reason: str, minor: int, currency: str, year: int = 2026
) -> DisputeState:
    disputed_at = datetime(year, month, 28, 23, 30, tzinfo=UTC)
    return DisputeState(
        dispute_id=uuid4(),
        order_id=f"ord-{uuid4()}",
        sequence=1,
        user_id=UUID(int=1),
        status=status,
        reason=reason,
        amount_minor=minor,
        currency=currency,
        opened_at=disputed_at,
        evidence_due_at=None,
        submitted_at=None,
        closed_at=disputed_at + timedelta(days=14) if status in ("won", "lost") else None,
        submitting_id=None,
        disputed_at=disputed_at,
        recorded_at=disputed_at,
    )


DISPUTES = [
    dispute(1, "won", "fraudulent", 10_050, "USD"),
    dispute(1, "lost", "fraudulent", 2_000, "EUR"),
    dispute(1, "lost", "duplicate", 500, "JPY"),
    dispute(2, "won", "fraudulent", 1_001, "KWD"),
    dispute(3, "open", "not_received", 99, "USD"),
    dispute(3, "closed", "duplicate", 1, "USD"),
]


def order(day: int, status: str) -> OrderState:
    at = datetime(2026, 4, day, 12, tzinfo=UTC)
    return OrderState(
        order_id=f"ord-{uuid4()}",
        sequence=1,
        user_id=UUID(int=1),
        status=status,
        on_hold=False,
        was_held=False,
        amount_minor=100,
        currency="USD",
        capture_status=None,
        captured_minor=None,
        capture_currency=None,
        captured_at=None,
        created_at=at,
        updated_at=at,
        recorded_at=at,
    )


ORDERS = [order(1, "created"), order(1, "success"), order(2, "success")]


def event(kind: str, day: int, dispute_id: UUID | None = None, *, webhook: bool) -> LoggedEvent:
    return LoggedEvent(
        event_id=uuid4(),
        order_id="ord-1",
        dispute_id=dispute_id,
        sequence=1,
        kind=kind,
        provider_event_id=f"evt-{uuid4()}" if webhook else None,
        data="{}",
        created_at=datetime(2026, 4, day, 23, tzinfo=UTC),
        correlation_id="c",
        position=day,
    )


EVENTS = [
    event("webhook_received", 1, webhook=True),
    event("webhook_received", 2, webhook=True),
    event("webhook_rejected", 2, webhook=True),
    event("hold_set", 2, webhook=False),
    event("webhook_opened", 1, UUID(int=2), webhook=True),
    event("provider_decision", 3, UUID(int=2), webhook=True),
    event("evidence_added", 3, UUID(int=2), webhook=False),
]


# Before all that a dashboard of today shows.
OF_EVERY_CURRENCY = [
    dispute(1, "open", "long ago", 123_456, currency, year=2020) for currency in MINOR_UNITS
]


@pytest.fixture(scope="module")
def indices(opensearch_server: OpenSearchServer) -> Iterator[Mapping[str, str]]:
    """An index of our mapping for each alias, with the documents above; by the alias."""
    prefix, url = f"t{uuid4().hex[:12]}", opensearch_server.url
    names = {alias: f"{prefix}-{alias}" for alias in ALIASES.values()}
    for document, alias in ALIASES.items():
        ask("PUT", f"{url}/{names[alias]}", json=index_of(document, "b"))
    write(url, names, [*DISPUTES, *ORDERS, *EVENTS, *OF_EVERY_CURRENCY])
    yield names
    ask("DELETE", f"{url}/{prefix}-*")


def ask(method: str, url: str, **request: Any) -> httpx.Response:
    said = httpx.request(method, url, trust_env=False, timeout=SECONDS_MAX, **request)
    assert said.is_success, said.text
    return said


def write(
    url: str, names: Mapping[str, str], states: Sequence[DisputeState | OrderState | LoggedEvent]
) -> None:
    lines = []
    for state in states:
        document, id = identity(state)
        action = {"index": {"_index": names[ALIASES[document]], "_id": id}}
        lines += [json.dumps(action).encode(), source(state)]
    headers = {"content-type": "application/x-ndjson"}
    content = b"\n".join([*lines, b""])
    said = ask("POST", f"{url}/_bulk?refresh=true", content=content, headers=headers)
    assert not said.json()["errors"], said.text


def test_the_fields_are_what_opensearch_says_of_our_mappings(
    opensearch_server: OpenSearchServer, indices: Mapping[str, str]
) -> None:
    kinds = {"keyword": "string", "long": "number", "integer": "number"}
    for pattern in PATTERNS:
        index = indices[pattern["attributes"]["title"]]
        url = f"{opensearch_server.url}/{index}/_field_caps"
        said = ask("GET", url, params={"fields": "*"})
        real = {
            name: (kinds.get(kind, kind), caps["searchable"], caps["aggregatable"])
            for name, by_kind in said.json()["fields"].items()
            for kind, caps in by_kind.items()
            if not name.startswith("_")
        }
        told = {
            name: (field["type"], field["searchable"], field["aggregatable"])
            for name, field in fields_of(pattern).items()
            if not name.startswith("_") and not field["scripted"]
        }
        assert told == real


def request_of(visualisation: Json, automatic: str = "1d") -> Json:
    """What Dashboards sends for it: its query, its pattern's time, each bucket inside the last."""
    pattern, attributes = pattern_of(visualisation), visualisation["attributes"]
    query = json.loads(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])["query"]
    time = pattern["attributes"]["timeFieldName"]
    within = {"range": {time: {"gte": "2025-05-01T00:00:00Z", "lte": NOW.isoformat()}}}
    assert query["language"] == "lucene", "the one that is sent as it stands"
    text = {"query_string": {"query": query["query"], "analyze_wildcard": True}}
    body: Json = {
        "size": 0,
        "query": {"bool": {"filter": [within, *([text] if query["query"] else [])]}},
    }
    inner = body
    metrics: Json = {}
    for each in state_of(visualisation)["aggs"]:
        params = each["params"]
        match each["type"]:
            case "count":
                pass  # every bucket has it
            case "sum":
                field = fields_of(pattern)[params["field"]]
                script = {"source": field["script"], "lang": field["lang"]}
                metrics[each["id"]] = {"sum": {"script": script}}
            case "date_histogram":
                inner["aggs"] = {each["id"]: {"date_histogram": _histogram(params, automatic)}}
                inner = inner["aggs"][each["id"]]
            case "terms":
                by = {"1": "_count", "_key": "_key"}[params["orderBy"]]
                terms = {"field": params["field"], "size": params["size"]}
                inner["aggs"] = {each["id"]: {"terms": {**terms, "order": {by: params["order"]}}}}
                inner = inner["aggs"][each["id"]]
            case unknown:
                pytest.fail(f"the test can't translate {unknown}")
    inner["aggs"] = metrics
    return body


def _histogram(params: Json, automatic: str) -> Json:
    interval = {"M": "1M", "auto": automatic}[params["interval"]]
    return {
        **{"field": params["field"], "calendar_interval": interval},
        **{"time_zone": params["time_zone"], "min_doc_count": params["min_doc_count"]},
    }


def cells(node: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Json]]:
    """The innermost buckets, under the keys that lead to them."""
    found = [inside for inside in node.values() if isinstance(inside, dict) and "buckets" in inside]
    if not found:
        yield path, node
    for inside in found:
        for bucket in inside["buckets"]:
            key = str(bucket.get("key_as_string", bucket["key"]))
            yield from cells(bucket, (*path, key))


def counted(
    server: OpenSearchServer, indices: Mapping[str, str], id: str
) -> dict[tuple[str, ...], Json]:
    visualisation = BY_KEY["visualization", id]
    index = indices[pattern_of(visualisation)["attributes"]["title"]]
    said = ask("POST", f"{server.url}/{index}/_search", json=request_of(visualisation))
    return dict(cells(said.json()["aggregations"]))


MONTHS = {month: f"2026-0{month}-01T00:00:00.000Z" for month in range(1, 6)}


def day(number: int) -> str:
    return f"2026-04-0{number}T00:00:00.000Z"


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        (
            "payments-disputes-by-reason-and-month",
            {
                (MONTHS[1], "fraudulent"): 2,
                (MONTHS[1], "duplicate"): 1,
                (MONTHS[2], "fraudulent"): 1,
                (MONTHS[3], "not_received"): 1,
                (MONTHS[3], "duplicate"): 1,
            },
        ),
        (
            "payments-win-rate-by-month",
            {(MONTHS[2], "won"): 1, (MONTHS[2], "lost"): 2, (MONTHS[3], "won"): 1},
        ),
        (
            "payments-win-rate-by-reason",
            {("fraudulent", "won"): 2, ("fraudulent", "lost"): 1, ("duplicate", "lost"): 1},
        ),
        (
            "payments-order-webhooks-by-kind",
            {
                (day(1), "webhook_received"): 1,
                (day(2), "webhook_received"): 1,
                (day(2), "webhook_rejected"): 1,
            },
        ),
        (
            "payments-dispute-webhooks-by-kind",
            {(day(1), "webhook_opened"): 1, (day(3), "provider_decision"): 1},
        ),
        (
            "payments-orders-by-status",
            {(day(1), "created"): 1, (day(1), "success"): 1, (day(2), "success"): 1},
        ),
    ],
)
def test_a_visualisation_counts_what_its_title_says(
    id: str,
    expected: Mapping[tuple[str, ...], int],
    opensearch_server: OpenSearchServer,
    indices: Mapping[str, str],
) -> None:
    found = counted(opensearch_server, indices, id)
    assert {path: bucket["doc_count"] for path, bucket in found.items()} == expected


def test_amounts_are_in_each_currencys_own_units_whatever_their_decimals(
    opensearch_server: OpenSearchServer, indices: Mapping[str, str]
) -> None:
    id = "payments-amounts-by-currency"
    found = counted(opensearch_server, indices, id)
    assert {path: Decimal(str(bucket["2"]["value"])) for path, bucket in found.items()} == {
        ("USD", "won"): Decimal("100.5"),
        ("USD", "open"): Decimal("0.99"),
        ("USD", "closed"): Decimal("0.01"),
        ("EUR", "lost"): Decimal("20.0"),
        ("JPY", "lost"): Decimal("500.0"),
        ("KWD", "won"): Decimal("1.001"),
    }
    asked = request_of(BY_KEY["visualization", id])
    asked["aggs"]["3"]["terms"]["size"] = len(MINOR_UNITS)
    asked["query"] = {"term": {"reason": "long ago"}}
    url = f"{opensearch_server.url}/{indices['disputes']}/_search"
    said = ask("POST", url, json=asked).json()
    sums = {path[0]: bucket["2"]["value"] for path, bucket in cells(said["aggregations"])}
    assert {currency: Decimal(str(value)) for currency, value in sums.items()} == {
        currency: to_decimal(Money(123_456, currency)) for currency in MINOR_UNITS
    }


# ── Imported, or not with a word why ─────────────────────────────────────────────────────────────


class Dashboards(http.server.ThreadingHTTPServer):
    """Answers as Dashboards does; what came in is in `taken`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.answer: Any = {"success": True, "successCount": len(OBJECTS), "successResults": []}
        self.taken: list[tuple[str, Mapping[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Dashboards

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.taken.append((self.path, dict(self.headers), body))
        said = self.server.answer
        text = said if isinstance(said, str) else json.dumps(said)
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def dashboards() -> Iterator[Dashboards]:
    with Dashboards() as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        yield server
        server.shutdown()


def test_the_import_is_what_dashboards_asks_for_and_replaces_an_older_one(
    dashboards: Dashboards,
) -> None:
    import_into(dashboards.url, OBJECTS)
    ((path, headers, body),) = dashboards.taken
    assert path == "/api/saved_objects/_import?overwrite=true"
    assert headers["osd-xsrf"] == "true"
    form = email.message_from_bytes(
        b"content-type: %b\n\n%b" % (headers["Content-Type"].encode(), body),
        policy=email.policy.HTTP,
    )
    assert form.get_content_type() == "multipart/form-data"
    (file,) = form.iter_parts()
    assert isinstance(file, email.message.EmailMessage)
    assert file.get_param("name", header="content-disposition") == "file"
    assert str(file.get_filename()).endswith(".ndjson"), "it refuses any other"
    sent = file.get_payload(decode=True)
    assert isinstance(sent, bytes)
    assert [json.loads(line) for line in sent.splitlines()] == OBJECTS


def test_the_command_says_where_to_look(
    dashboards: Dashboards, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    password = dashboards.url.replace("http://", "http://admin:secret@")
    monkeypatch.setattr(sys, "argv", ["infra.dashboards", password])
    __main__.main()
    said = capsys.readouterr().out
    assert f"see {dashboards.url}/app/dashboards#/view/{DASHBOARD}\n" in said
    ((_, headers, _),) = dashboards.taken
    assert headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("status", "answer", "told"),
    [
        (
            200,
            {
                "success": False,
                "successCount": len(OBJECTS) - 2,
                "errors": [
                    {
                        "type": "dashboard",
                        "id": DASHBOARD,
                        "error": {
                            "type": "missing_references",
                            "references": [{"type": "visualization", "id": "v"}],
                        },
                    },
                    {
                        "type": "index-pattern",
                        "id": "payments-orders",
                        "error": {"type": "unknown", "message": "too big", "statusCode": 413},
                    },
                ],
            },
            f"(?s)took {len(OBJECTS) - 2} of {len(OBJECTS)}.*dashboard {DASHBOARD}: "
            "missing_references visualization v.*payments-orders: unknown too big",
        ),
        (200, {"success": True, "successCount": 1}, f"took 1 of {len(OBJECTS)}"),
        (200, "<html>a portal</html>", "no Dashboards: it says '<html>a portal"),
        (200, [], "no Dashboards"),
        (
            400,
            {"statusCode": 400, "error": "Bad Request", "message": "Request must contain osd-xsrf"},
            "refused: 400 .*must contain osd-xsrf",
        ),
        (401, "Unauthorized", "refused: 401 Unauthorized"),
        (503, "OpenSearch Dashboards server is not ready yet", "isn't ready yet"),
    ],
)
def test_a_refusal_is_told_in_its_own_words(
    status: int, answer: Any, told: str, dashboards: Dashboards
) -> None:
    dashboards.status, dashboards.answer = status, answer
    with pytest.raises(ImportFailed, match=told):
        import_into(dashboards.url, OBJECTS)


def test_nobody_there_is_told_with_what_to_do_and_without_the_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # so that it is nobody else's; it doesn't listen
        url = f"http://admin:secret@127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(sys, "argv", ["infra.dashboards", url])
        with pytest.raises(SystemExit) as ended:
            __main__.main()
    said = str(ended.value.code)
    assert "Nothing answers" in said
    assert "make start_containers search=1" in said
    assert "secret" not in said
