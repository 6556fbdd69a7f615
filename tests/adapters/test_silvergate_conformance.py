"""What any Silvergate must answer: the simulator, and the stubs on a real WireMock.

How to think about it: first each of them by itself, as our client sees it; then both side by side,
the same bytes to each, so that neither can drift from the other; last what is the stubs' own, the
order ids that make something go wrong.

SILVERGATE_CONFORMANCE_URL adds a third provider to the first part.
"""

import asyncio
import json
import os
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, get_args

import httpx
import pytest
import pytest_asyncio

from infra import wiremock_server
from infra.wiremock_server import WireMockServer
from payment_manager.adapters.silvergate.client import SilvergateClient
from payment_manager.adapters.silvergate.simulator import (
    CAPTURE_PATH,
    SUBMIT_REPRESENTMENT_PATH,
    Fault,
    RunningSimulator,
    running_simulator,
)
from payment_manager.adapters.silvergate.simulator.faults import Kind
from payment_manager.domain.currencies import MINOR_UNITS
from payment_manager.domain.gateway import (
    Answer,
    CaptureQuestion,
    Done,
    Refused,
    RepresentmentQuestion,
    Unknown,
)
from payment_manager.domain.money import Money

OTHER_PROVIDER = os.environ.get("SILVERGATE_CONFORMANCE_URL")
PROVIDERS = [
    "simulator",
    pytest.param("wiremock", marks=pytest.mark.integration),
    *([OTHER_PROVIDER] if OTHER_PROVIDER else []),
]

# One of each number of decimals that a currency can have.
CURRENCIES = ["JPY", "USD", "KWD", "CLF"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

CAPTURE: dict[str, object] = {
    "order_id": "ord-1",
    "amount": 100.5,
    "currency": "USD",
    "idempotency_key": "k-1",
}
REPRESENTMENT: dict[str, object] = {
    "order_id": "ord-1",
    "evidences_file_id": ["file-1", "file-2"],
    "fields": {"note": 'It was "delivered" \\ left at the door.\n', "courier": ""},
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulator() -> AsyncIterator[RunningSimulator]:
    async with running_simulator() as running:
        yield running


@pytest.fixture(scope="module")
def wiremock() -> Iterator[WireMockServer]:
    reason = wiremock_server.why_not()
    if reason is not None:
        pytest.skip(f"no WireMock: {reason}")
    with WireMockServer() as server:
        # A cold JVM's first answers take ten times as long, and some tests here look at a clock.
        for path in (CAPTURE_PATH, SUBMIT_REPRESENTMENT_PATH):
            httpx.post(server.url + path, json={}, trust_env=False, timeout=60)
        httpx.post(server.url + CAPTURE_PATH, json=CAPTURE, trust_env=False, timeout=60)
        yield server


@pytest.fixture(scope="module", params=PROVIDERS)
def base_url(request: pytest.FixtureRequest, simulator: RunningSimulator) -> str:
    if request.param == "simulator":
        return simulator.base_url
    if request.param == "wiremock":  # a JVM: only where it is asked for
        server: WireMockServer = request.getfixturevalue("wiremock")
        return server.url
    return str(request.param)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def silvergate(base_url: str) -> AsyncIterator[SilvergateClient]:
    client = a_client(base_url)
    yield client
    await client.close()


def a_client(base_url: str, timeout_seconds: float = 60) -> SilvergateClient:
    return SilvergateClient(base_url, CAPTURE_PATH, SUBMIT_REPRESENTMENT_PATH, timeout_seconds)


def a_capture(**changes: object) -> CaptureQuestion:
    new = {"order_id": f"ord-{uuid.uuid4()}", "provider_key": str(uuid.uuid4())}
    return CaptureQuestion(**{"money": Money(10050, "USD"), **new, **changes})  # type: ignore[arg-type]


def a_representment(**changes: object) -> RepresentmentQuestion:
    new = {"order_id": f"ord-{uuid.uuid4()}", "provider_key": str(uuid.uuid4())}
    given = {"file_ids": ["file-1"], "fields": {"note": "It was delivered."}}
    return RepresentmentQuestion(**{**given, **new, **changes})  # type: ignore[arg-type]


def short(value: object) -> str:
    return repr(value)[:40]


# ── Each by itself ────────────────────────────────────────────────────────────────────────────────


async def test_a_capture_is_done_under_the_providers_own_id(silvergate: SilvergateClient) -> None:
    answer = await silvergate.capture(a_capture(), correlation_id="c-1")
    assert isinstance(answer, Done)
    assert answer.reference


async def test_the_same_key_gives_the_same_capture(silvergate: SilvergateClient) -> None:
    question = a_capture()
    first = await silvergate.capture(question, correlation_id="c-1")
    assert isinstance(first, Done)
    assert await silvergate.capture(question, correlation_id="c-2") == first


async def test_another_key_gives_another_capture(silvergate: SilvergateClient) -> None:
    question = a_capture()
    first = await silvergate.capture(question, correlation_id="c-1")
    other = a_capture(order_id=question.order_id)
    assert await silvergate.capture(other, correlation_id="c-1") != first


@pytest.mark.parametrize("minor", [1, 999_999_999_999_999])
@pytest.mark.parametrize("currency", CURRENCIES)
async def test_any_currency_can_be_captured_from_its_smallest_unit_to_the_largest_amount(
    silvergate: SilvergateClient, currency: str, minor: int
) -> None:
    question = a_capture(money=Money(minor, currency))
    assert isinstance(await silvergate.capture(question, correlation_id="c"), Done)


async def test_a_representment_is_done_under_the_providers_own_id(
    silvergate: SilvergateClient,
) -> None:
    question = a_representment()
    first = await silvergate.submit_representment(question, correlation_id="c-1")
    assert isinstance(first, Done)
    assert await silvergate.submit_representment(question, correlation_id="c-2") == first


async def test_another_key_gives_another_representment(silvergate: SilvergateClient) -> None:
    question = a_representment()
    first = await silvergate.submit_representment(question, correlation_id="c-1")
    other = a_representment(order_id=question.order_id)
    assert await silvergate.submit_representment(other, correlation_id="c-1") != first


async def test_a_representment_without_files_is_refused_as_invalid(
    silvergate: SilvergateClient,
) -> None:
    question = a_representment(file_ids=[])
    answer = await silvergate.submit_representment(question, correlation_id="c-1")
    assert answer == Refused("2.01: Validation error")


async def test_an_invalid_call_is_answered_with_what_is_wrong(base_url: str) -> None:
    body = {"evidences_file_id": [], "fields": {}, "order_id": "ord-1"}
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        answer = await http.post(
            base_url + SUBMIT_REPRESENTMENT_PATH,
            content=json.dumps(body),
            headers={"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())},
        )
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == ("2.01", "Validation error")
    assert "evidences_file_id" in error["constraints"]


# ── Both side by side ─────────────────────────────────────────────────────────────────────────────

Said = tuple[int, dict[str, str], Any] | str
"""Status, headers that matter and body; or that the connection broke."""

AskBoth = Callable[..., Awaitable[tuple[Said, Said]]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ask_both(simulator: RunningSimulator, wiremock: WireMockServer) -> AsyncIterator[AskBoth]:
    """Sends the same to both, and answers what each said. `stub` is what WireMock gets instead."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:

        async def ask(url: str, method: str, body: object, headers: dict[str, str]) -> Said:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            try:
                return what_was_said(
                    await http.request(method, url, content=content, headers=headers)
                )
            except httpx.TransportError:
                return "the connection broke"

        async def both(
            path: str, body: object, *, stub: object = None, method: str = "POST", key: str = ""
        ) -> tuple[Said, Said]:
            headers = {"Content-Type": "application/json"}
            if key:
                headers["Idempotency-Key"] = key
            return await asyncio.gather(
                ask(simulator.base_url + path, method, body, headers),
                ask(wiremock.url + path, method, stub or body, headers),
            )

        yield both


def what_was_said(answer: httpx.Response) -> Said:
    """With the ids, which each provider makes in its own way, as their kind alone."""
    headers = {
        name: answer.headers[name]
        for name in ("content-type", "retry-after")
        if name in answer.headers
    }
    try:
        body = answer.json()
    except ValueError:
        return answer.status_code, headers, answer.text
    for name, id_rule in (("transaction_id", r"txn-\S+"), ("id", r"sg-subm-\S+")):
        if name in body and re.fullmatch(id_rule, body[name]):
            body[name] = id_rule
    return answer.status_code, headers, body


def with_fewer_words(said: Said) -> Said:
    """The simulator says how many digits are too many; the stubs only that they are."""
    digits = (
        r"must have at most \d+ (digits, counted in the smallest unit|decimals in this currency)"
    )
    assert not isinstance(said, str)
    constraints = said[2]["error"]["constraints"]
    for field, text in constraints.items():
        constraints[field] = re.sub(
            digits, "must have no more digits than its currency allows", text
        )
    return said


@pytest.mark.integration
@pytest.mark.parametrize(
    ("path", "body"), [(CAPTURE_PATH, CAPTURE), (SUBMIT_REPRESENTMENT_PATH, REPRESENTMENT)]
)
async def test_simulator_and_stubs_do_things_alike(
    ask_both: AskBoth, path: str, body: dict[str, object]
) -> None:
    key = "" if path == CAPTURE_PATH else str(uuid.uuid4())
    simulated, stubbed = await ask_both(path, body, key=key)
    assert stubbed == simulated
    assert simulated[0] == 200


NO_TEXT: list[object] = ["", "x" * 256, 7, None, ["x"], {}]

INVALID_CAPTURES: list[dict[str, object]] = [
    *({"order_id": value} for value in NO_TEXT),
    *({"idempotency_key": value} for value in NO_TEXT),
    *({"currency": value} for value in ["", "usd", "US", "USDX", "XAU", "ABC", 840, None, ["USD"]]),
    *({"amount": value} for value in ["100.50", True, None, [], {}, 0, -0.0, 0.00, -1, -100.5]),
    {"amount": 0.001},
    {"amount": 100.505},
    {"amount": 10_000_000_000_000},
    {"amount": 100.5, "currency": "JPY"},
    {"amount": 10**15, "currency": "JPY"},
    {"amount": 1.0001, "currency": "KWD"},
    {"amount": 1.00001, "currency": "CLF"},
    {"amount": 0, "currency": "XAU"},
    {"amount": "1", "currency": "usd"},
    {"amount": 100.505, "currency": "usd"},
    {"amount": 100.505, "order_id": "", "idempotency_key": 1},
    dict.fromkeys(CAPTURE),
]


@pytest.mark.integration
@pytest.mark.parametrize("changes", INVALID_CAPTURES, ids=short)
async def test_simulator_and_stubs_refuse_an_invalid_capture_alike(
    ask_both: AskBoth, changes: dict[str, object]
) -> None:
    simulated, stubbed = await ask_both(CAPTURE_PATH, {**CAPTURE, **changes})
    assert simulated[0] == 400
    assert stubbed == with_fewer_words(simulated)


@pytest.mark.integration
@pytest.mark.parametrize("missing", CAPTURE)
async def test_simulator_and_stubs_refuse_an_incomplete_capture_alike(
    ask_both: AskBoth, missing: str
) -> None:
    body = {name: value for name, value in CAPTURE.items() if name != missing}
    simulated, stubbed = await ask_both(CAPTURE_PATH, body)
    assert simulated[0] == 400
    assert stubbed == simulated


INVALID_REPRESENTMENTS: list[dict[str, object]] = [
    *({"order_id": value} for value in NO_TEXT),
    *({"evidences_file_id": value} for value in [[], [""], ["f", 1], ["x" * 256], "f", None, {}]),
    *({"fields": value} for value in [{"a": 1}, {"a": None}, {"a": {"b": "c"}}, [], "a", None]),
    {"order_id": 1, "fields": {}},
    {"evidences_file_id": [], "fields": None},
    dict.fromkeys(REPRESENTMENT),
]


@pytest.mark.integration
@pytest.mark.parametrize("key", ["r-1", ""])
@pytest.mark.parametrize("changes", INVALID_REPRESENTMENTS, ids=short)
async def test_simulator_and_stubs_refuse_an_invalid_representment_alike(
    ask_both: AskBoth, changes: dict[str, object], key: str
) -> None:
    body = {**REPRESENTMENT, **changes}
    simulated, stubbed = await ask_both(SUBMIT_REPRESENTMENT_PATH, body, key=key)
    assert simulated[0] == 400
    assert stubbed == simulated


@pytest.mark.integration
@pytest.mark.parametrize("missing", REPRESENTMENT)
async def test_simulator_and_stubs_refuse_an_incomplete_representment_alike(
    ask_both: AskBoth, missing: str
) -> None:
    body = {name: value for name, value in REPRESENTMENT.items() if name != missing}
    simulated, stubbed = await ask_both(SUBMIT_REPRESENTMENT_PATH, body, key="r-1")
    assert simulated[0] == 400
    assert stubbed == simulated


@pytest.mark.integration
@pytest.mark.parametrize(
    ("key", "status"),
    [
        ("", 400),
        ('""', 400),
        ("k", 200),
        ('"k"', 200),
        ("k" * 255, 200),
        ('"' + "k" * 255 + '"', 200),
        ("k" * 256, 400),
        ('"' + "k" * 256 + '"', 400),
    ],
    ids=short,
)
async def test_simulator_and_stubs_take_the_same_keys_of_representments(
    ask_both: AskBoth, key: str, status: int
) -> None:
    simulated, stubbed = await ask_both(SUBMIT_REPRESENTMENT_PATH, REPRESENTMENT, key=key)
    assert simulated[0] == status
    assert stubbed == simulated


@pytest.mark.integration
@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"null", b'"{}"', b"{", b"\xff", b"[" * 9_999])
@pytest.mark.parametrize("path", [CAPTURE_PATH, SUBMIT_REPRESENTMENT_PATH])
async def test_simulator_and_stubs_refuse_what_is_no_json_object_alike(
    ask_both: AskBoth, path: str, body: bytes
) -> None:
    simulated, stubbed = await ask_both(path, body, key="k-1")
    assert simulated[0] == 400
    assert stubbed == simulated


@pytest.mark.integration
@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", CAPTURE_PATH), ("PUT", "/x")])
async def test_simulator_and_stubs_have_no_other_route(
    ask_both: AskBoth, method: str, path: str
) -> None:
    simulated, stubbed = await ask_both(path, CAPTURE, method=method)
    assert simulated[0] == 404
    assert stubbed == simulated


@pytest.mark.integration
@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize(
    ("path", "body"), [(CAPTURE_PATH, CAPTURE), (SUBMIT_REPRESENTMENT_PATH, REPRESENTMENT)]
)
async def test_a_fault_of_the_simulator_is_an_order_ids_prefix_of_the_stubs(
    simulator: RunningSimulator,
    ask_both: AskBoth,
    kind: Kind,
    path: str,
    body: dict[str, object],
) -> None:
    key = str(uuid.uuid4())
    body = {**body, **({"idempotency_key": key} if path == CAPTURE_PATH else {})}
    prefix = "drop" if kind in ("drop_before", "drop_after") else kind
    simulator.app.faults.add(Fault(fault=kind, times=1))
    began = asyncio.get_running_loop().time()
    simulated, stubbed = await ask_both(
        path, body, stub={**body, "order_id": f"{prefix}-{uuid.uuid4()}"}, key=key
    )
    simulator.app.faults.clear()  # one that is for the other route only is still there
    assert stubbed == simulated
    if kind == "slow":
        assert asyncio.get_running_loop().time() - began >= 1


async def test_the_stubs_know_the_currencies_that_we_know() -> None:
    """By the mappings alone, since asking for each would take long."""
    mappings = json.loads((wiremock_server.STUBS / "mappings" / "2-invalid.json").read_text())
    known: set[str] = set()
    decimals: dict[str, int] = {}
    for mapping in mappings["mappings"]:
        for pattern in mapping["request"].get("bodyPatterns", ()):
            schema = pattern["not"]["matchesJsonSchema"]
            known.update(schema.get("properties", {}).get("currency", {}).get("enum", ()))
            while "if" in schema:
                unit = str(schema["then"]["properties"]["amount"]["multipleOf"])
                for code in schema["if"]["properties"]["currency"]["enum"]:
                    decimals[code] = len(unit.partition(".")[2])
                schema = schema["else"]
    assert known == set(MINOR_UNITS)
    assert decimals == {code: unit for code, unit in MINOR_UNITS.items() if unit != 2}


# ── The stubs' own ────────────────────────────────────────────────────────────────────────────────


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stubs(wiremock: WireMockServer) -> AsyncIterator[SilvergateClient]:
    client = a_client(wiremock.url)
    yield client
    await client.close()


@pytest.mark.integration
@pytest.mark.parametrize(
    ("order_id", "capture", "representment"),
    [
        ("error_500-1", Unknown("HTTP 500"), Unknown("HTTP 500")),
        ("rate_limited-1", Unknown("HTTP 429"), Unknown("HTTP 429")),
        ("drop-1", *[Unknown("the connection broke (ReadError)")] * 2),
        ("garbage-1", *[Unknown("the answer makes no sense")] * 2),
        ("decline-1", Refused("declined by the provider", "txn-k-1"), Done("sg-subm-k-1")),
        ("file_not_ready-1", Done("txn-k-1"), Refused("2.01: File not ready")),
        ("not-decline-1", Done("txn-k-1"), Done("sg-subm-k-1")),
    ],
)
async def test_an_order_id_says_how_the_stubs_answer(
    stubs: SilvergateClient, order_id: str, capture: Answer, representment: Answer
) -> None:
    for _ in range(2):
        assert capture == await stubs.capture(
            a_capture(order_id=order_id, provider_key="k-1"), correlation_id="c"
        )
        assert representment == await stubs.submit_representment(
            a_representment(order_id=order_id, provider_key="k-1"), correlation_id="c"
        )


@pytest.mark.integration
async def test_a_flaky_order_is_unknown_once_and_then_done(stubs: SilvergateClient) -> None:
    capture = a_capture(order_id="flaky-1")
    assert await stubs.capture(capture, correlation_id="c") == Unknown("HTTP 503")
    done = await stubs.capture(capture, correlation_id="c")
    assert done == Done(f"txn-{capture.provider_key}")
    representment = a_representment(order_id="flaky-1")
    submit = stubs.submit_representment
    assert await submit(representment, correlation_id="c") == Unknown("HTTP 503")
    assert await submit(representment, correlation_id="c") == Done(
        f"sg-subm-{representment.provider_key}"
    )


@pytest.mark.integration
async def test_a_slow_order_is_unknown_to_who_waits_for_less(wiremock: WireMockServer) -> None:
    hasty = a_client(wiremock.url, timeout_seconds=0.2)
    too_late = Unknown("no answer within 0.2 s")
    assert too_late == await hasty.capture(a_capture(order_id="slow-1"), correlation_id="c")
    representment = a_representment(order_id="slow-1")
    assert too_late == await hasty.submit_representment(representment, correlation_id="c")
    await hasty.close()
