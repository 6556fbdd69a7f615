"""Ingest, as a provider and an operator have it: a 202 is in the topic, whatever dies.

How to think about it: what the topics hold is the only witness. One service on the shared broker
takes all that is not about dying; each test of a broker that goes away has a broker of its own, and
each test of a service that does a service of its own.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from confluent_kafka import Message

from infra.kafka_server import KafkaServer
from infra.local_server import free_port
from payment_manager.contracts import envelope
from payment_manager.contracts.envelope import Envelope, Kind
from payment_manager.domain.dispute_id import dispute_id_of
from tests.e2e.chaos import under_load
from tests.e2e.conftest import StartService
from tests.e2e.load import Load, Sent
from tests.e2e.service import SECRET, Service
from tests.e2e.test_hostile import NO_JSON, WRONG_VALUES, status_of
from tests.e2e.wire import CHARGEBACKS, ORDERS, problem_of, send, send_as_provider
from tests.kafka import broker_at
from tests.topics import make_topic, messages_in
from tests.webhooks import ANN, chargeback_webhook, order_webhook

KINDS = {ORDERS: Kind.ORDER, CHARGEBACKS: Kind.DISPUTE}

ANSWER_SECONDS_MAX = 10.0
"""Two are promised, which a machine that is busy with other tests may stretch. Without the promise
it would be the client's five minutes.
"""


def topics_of(prefix: str) -> dict[str, str]:
    """The settings that name a test's own topics."""
    return {
        "KAFKA_ORDERS_TOPIC": f"{prefix}.orders",
        "KAFKA_DISPUTES_TOPIC": f"{prefix}.disputes",
        "KAFKA_PARTITIONS": "2",
    }


def taken(service: Service, path: str) -> list[tuple[Message, Envelope]]:
    """What the route's topic holds."""
    topic = service.settings["KAFKA_ORDERS_TOPIC" if path == ORDERS else "KAFKA_DISPUTES_TOPIC"]
    found = messages_in(service.settings["KAFKA_BROKERS"], topic)
    return [(message, envelope.decode(message.value(), KINDS[path])) for message in found]


def webhooks_in(service: Service) -> Counter[Sent]:
    """How often each webhook is in the topics."""
    return Counter(
        (path, read["order_id"], read["provider_event_id"])
        for path in KINDS
        for _, wrapped in taken(service, path)
        for read in [json.loads(bytes(wrapped.payload))]
    )


def assert_all_there(service: Service, load: Load) -> None:
    assert load.wrong == []
    assert load.slowest_seconds < ANSWER_SECONDS_MAX
    assert len(load.acknowledged) > 100  # there was a load
    assert load.acknowledged.keys() - webhooks_in(service).keys() == set()


@pytest.fixture(scope="module")
def service(
    kafka_server: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Where tests don't harm it; `api` talks to it."""
    service = Service(
        tmp_path_factory.mktemp("ingest"),
        "ingest",
        KAFKA_BROKERS=kafka_server.brokers,
        BODY_TIMEOUT="3s",
        **topics_of(f"t{uuid4().hex[:12]}"),
    )
    try:
        service.start()
        with service.client() as first:
            # A broker that has just started gives out its first producer id only after a moment.
            assert send_as_provider(first, ORDERS, order_webhook()).status_code == 202
        yield service
        assert service.stop() == 0
        assert service.said == ""
    finally:
        service.clean_up()


@pytest.fixture(autouse=True)
def log_is_clean(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "service" in request.fixturenames:
        request.getfixturevalue("service").check_log()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaServer]:
    """One that the test may pause and kill."""
    with broker_at(tmp_path / "kafka") as server:
        yield server
        server.resume()


# ── What is taken ─────────────────────────────────────────────────────────────────────────────────


def test_an_orders_webhook_is_in_its_topic_byte_for_byte(
    service: Service, api: httpx.Client
) -> None:
    body = (
        b' {"provider_event_id":"evt-bytes","order_id":"ord-bytes","user_id":"%b","status":'
        b'"created", "created_at":"2026-01-02T10:00:00Z","updated_at":"2026-01-02T12:00:00+02:00",'
        b'\t"meta":{"amount":1.50e2,"amount":100.50,"note":"\\u00e9\xc3\xa9\\/"},"more":[1.0]}'
        % ANN.upper().encode()
    )
    before = datetime.now(UTC)
    answer = send_as_provider(api, ORDERS, body, **{"X-Correlation-ID": "corr-1"})
    assert answer.status_code == 202
    assert answer.json() == {"outcome": "accepted", "order_id": "ord-bytes", "dispute_id": None}
    assert answer.headers["x-correlation-id"] == "corr-1"
    *_, (message, wrapped) = [
        each for each in taken(service, ORDERS) if b"evt-bytes" in bytes(each[1].payload)
    ]
    assert bytes(wrapped.payload) == body.strip()
    assert message.key() == wrapped.key.encode() == ANN.encode()
    assert message.headers() == [("X-Correlation-ID", b"corr-1")]
    assert wrapped.type is Kind.ORDER
    assert wrapped.event_id.version == 7
    assert before <= wrapped.timestamp <= datetime.now(UTC)


def test_a_chargeback_is_in_its_own_topic_and_its_dispute_is_known_before_it_exists(
    service: Service, api: httpx.Client
) -> None:
    body = chargeback_webhook("ord-charged", "closed", 3, "won")
    answer = send_as_provider(api, CHARGEBACKS, body)
    assert answer.status_code == 202
    assert answer.json() == {
        "outcome": "accepted",
        "order_id": "ord-charged",
        "dispute_id": str(dispute_id_of("ord-charged")),
    }
    *_, (message, wrapped) = taken(service, CHARGEBACKS)
    assert (bytes(wrapped.payload), wrapped.type) == (body, Kind.DISPUTE)
    # None was sent, so one was made; the one that was answered.
    assert message.headers() == [("X-Correlation-ID", answer.headers["x-correlation-id"].encode())]


async def test_every_202_is_in_the_topic_exactly_once(service: Service) -> None:
    load = Load(service.port, connections=32, knows_again=False)
    async with load.flowing():
        await load.more(1000)
    assert load.wrong == []
    assert set(load.answers) <= {202, 503}
    there = {sent: times for sent, times in webhooks_in(service).items() if "load-" in sent[1]}
    assert there.keys() == load.acknowledged.keys()
    # Some were sent twice, and every time is an answer; of a 503 nobody knows.
    assert 0 <= sum(there.values()) - load.answers[202] <= load.answers[503]


def test_what_is_taken_is_counted(api: httpx.Client) -> None:
    def counted() -> dict[str, float]:
        lines = api.get("/metrics").text.splitlines()
        return {
            name: float(value)
            for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        }

    before = counted()
    send_as_provider(api, ORDERS, order_webhook())
    send_as_provider(api, CHARGEBACKS, chargeback_webhook())
    send(api, ORDERS, order_webhook(status="lost"))
    after = counted()
    for name, more in {
        'webhooks_accepted_total{space="order"}': 1,
        'webhooks_accepted_total{space="dispute"}': 1,
        'webhooks_total{outcome="accepted",space="order"}': 1,
        'webhooks_total{outcome="invalid",space="order"}': 1,
    }.items():
        name = f"payment_manager_{name}"
        assert after[name] - before.get(name, 0) == more, name
    assert after["payment_manager_webhooks_waiting"] == 0


# ── What is refused ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def topics_stay_as_they_are(service: Service) -> Iterator[None]:
    before = webhooks_in(service).total()
    yield
    assert webhooks_in(service).total() == before


@pytest.mark.usefixtures("topics_stay_as_they_are")
def test_poison_is_refused_at_the_edge(api: httpx.Client) -> None:
    for path in KINDS:
        for body in NO_JSON.values():
            problem_of(send(api, path, body), 400, "invalid_request")
        for value in WRONG_VALUES.values():
            problem_of(send(api, path, json.dumps(value).encode()), 400, "invalid_request")
    values: list[Any] = [None, 1, "", [], {}, "x" * 10_000]
    for value in values:
        for field in ("provider_event_id", "order_id", "user_id", "status", "updated_at"):
            answer = send(api, ORDERS, order_webhook(**{field: value}))
            [error] = problem_of(answer, 400, "invalid_request")["errors"]
            assert error["field"] == field
    wrong = chargeback_webhook(amount="1", currency="usd", meta={"resolution": SECRET})
    problem_of(send(api, CHARGEBACKS, wrong), 400, "invalid_request")


@pytest.mark.usefixtures("topics_stay_as_they_are")
def test_what_http_refuses_is_refused_as_the_api_does(service: Service, api: httpx.Client) -> None:
    body = order_webhook()
    put = api.put(ORDERS, content=body)
    problem_of(put, 405, "method_not_allowed")
    assert put.headers["allow"] == "POST"
    problem_of(
        api.post(ORDERS, content=body, headers={"Content-Type": "text/plain"}),
        415,
        "unsupported_media_type",
    )
    problem_of(
        send(api, ORDERS, body, **{"Content-Encoding": "gzip"}), 415, "unsupported_media_type"
    )
    problem_of(send(api, ORDERS, order_webhook(meta={"x": "y" * 262_144})), 413, "body_too_large")
    head = f"POST {ORDERS} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    assert status_of(service.exchange(head.encode() + body[:10])) == 408
    assert status_of(service.exchange(b"nonsense\r\n\r\n")) == 400


@pytest.mark.parametrize(
    "path", ["/", "/orders", "/disputes", "/docs", "/openapi.json", "/webhooks", f"{ORDERS}/x"]
)
def test_it_has_no_other_routes(api: httpx.Client, path: str) -> None:
    problem_of(api.get(path), 404, "not_found")


def test_it_explains_its_problems_and_tells_how_it_is(api: httpx.Client) -> None:
    assert api.get("/problems/unavailable").json()["status"] == 503
    assert api.get("/health/live").json() == {"status": "ok"}
    assert api.get("/health/ready").json() == {"status": "ready", "checks": {"kafka": "ok"}}


# ── The broker goes away ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["paused", "killed"])
async def test_while_the_broker_is_away_503_comes_in_time_and_nothing_acknowledged_is_lost(
    broker: KafkaServer, start_service: StartService, how: str
) -> None:
    service = start_service("ingest", KAFKA_BROKERS=broker.brokers, **topics_of("t"))
    load = Load(service.port, connections=20, per_second=200, knows_again=False)
    async with load.flowing():
        await load.more(100)
        broker.pause() if how == "paused" else broker.kill()
        await until(lambda: load.answers[503] > 50)
        async with service.connections(4) as api:
            answer = await api.post(ORDERS, content=order_webhook())
            assert problem_of(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            began = time.monotonic()
            ready = await asyncio.gather(*(api.get("/health/ready") for _ in range(4)))
            assert time.monotonic() - began < ANSWER_SECONDS_MAX
            assert {each.status_code for each in ready} == {503}
            assert ready[0].json()["checks"] == {"kafka": "unavailable"}
            assert (await api.get("/health/live")).status_code == 200
        if how == "paused":
            broker.resume()
        else:
            await asyncio.to_thread(broker.start)
        await load.more(100)
        async with service.connections(1) as api:
            while (await api.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.1)  # a question of its own, with a second and a half for it
    assert_all_there(service, load)
    assert service.stop() == 0


async def test_what_waits_is_bounded_in_number_and_in_memory(
    broker: KafkaServer, start_service: StartService
) -> None:
    service = start_service(
        "ingest", KAFKA_BROKERS=broker.brokers, WEBHOOK_QUEUE_MAX="5", **topics_of("t")
    )
    large = {"x": "y" * 200_000}
    answers: Counter[str] = Counter()
    slowest = 0.0

    async def send_one(api: httpx.AsyncClient) -> None:
        nonlocal slowest
        began = time.monotonic()
        answer = await api.post(ORDERS, content=order_webhook(meta=large))
        slowest = max(slowest, time.monotonic() - began)
        answers[answer.json()["code"] if answer.status_code == 503 else "taken"] += 1

    async with service.connections(60) as api:
        while answers["taken"] < 1:
            await send_one(api)
        memory_kib = service.rss_kib
        broker.pause()
        for _ in range(4):
            await asyncio.gather(*(send_one(api) for _ in range(60)))
    # Those who come once the first ones were given up are told that the broker is away.
    assert answers["overloaded"] > 0
    assert answers["overloaded"] + answers["unavailable"] == 240
    # Sixty bodies of the largest size at once, and the interpreter's own untidiness.
    assert service.rss_kib - memory_kib < 60 * 1024
    assert slowest < ANSWER_SECONDS_MAX


async def until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not look():
            await asyncio.sleep(0.02)


# ── It goes away itself ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["sigterm", "kill -9"])
async def test_a_202_is_in_the_topic_however_the_service_ends(
    kafka_server: KafkaServer, topic_prefix: str, start_service: StartService, how: str
) -> None:
    service = start_service("ingest", KAFKA_BROKERS=kafka_server.brokers, **topics_of(topic_prefix))

    def end_and_restart() -> None:
        if how == "sigterm":
            assert service.stop() == 0
        else:
            service.kill()
        service.start()

    load = Load(service.port, knows_again=False)
    await under_load(load, end_and_restart, times=2, between=(50, 300))
    assert_all_there(service, load)
    assert service.stop() == 0
    assert service.said == ""


# ── Its start ─────────────────────────────────────────────────────────────────────────────────────


def test_wrong_topics_stop_the_start_and_are_named(
    kafka_server: KafkaServer, topic_prefix: str, tmp_path: Path
) -> None:
    make_topic(kafka_server.brokers, f"{topic_prefix}.orders", cleanup_policy="compact")
    make_topic(kafka_server.brokers, f"{topic_prefix}.disputes", min_insync_replicas="2")
    settings = {"KAFKA_BROKERS": kafka_server.brokers, **topics_of(topic_prefix)}
    service = Service(tmp_path, "ingest", **settings)
    service.launch()
    assert service.ended() == 2
    assert f"{topic_prefix}.orders: cleanup.policy=compact" in service.said
    assert f"{topic_prefix}.disputes: min.insync.replicas=2" in service.said
    assert "Traceback" not in service.said


def test_settings_that_are_missing_are_named(tmp_path: Path) -> None:
    service = Service(tmp_path, "ingest")
    service.launch()
    assert service.ended() == 2
    assert "KAFKA_BROKERS" in service.said


def test_it_waits_for_its_broker_and_can_be_stopped_meanwhile(tmp_path: Path) -> None:
    service = Service(tmp_path, "ingest", KAFKA_BROKERS=f"127.0.0.1:{free_port()}")
    service.launch()
    service.wait_for_log("waiting_for_kafka")
    assert service.stop() == 143


def test_it_has_no_database_no_use_case_and_no_state_machine(service: Service) -> None:
    # The running process has loaded no such driver …
    assert "psycopg" not in Path(f"/proc/{service.process.pid}/maps").read_text()
    # … and none of the modules, from the command line on.
    script = (
        "import sys; import payment_manager.cli, payment_manager.bootstrap.ingest;"
        "import payment_manager.entrypoints.http.serving; print(*sys.modules)"
    )
    modules = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    forbidden = ("psycopg", "sqlalchemy", "alembic", "payment_manager.application")
    more = ("payment_manager.adapters.postgres", "payment_manager.domain.order")
    assert [name for name in modules if name.startswith((*forbidden, *more))] == []
    assert "payment_manager.domain.dispute" not in modules
