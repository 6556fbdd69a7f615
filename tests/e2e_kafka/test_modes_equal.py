"""The same history through both modes: the same event logs, the same rows, the same refusals.

How to think about it: one provider's life is made up from a seed, with everything that may happen
to webhooks on their way, and told to both deployments at once. Then the two databases are read and
held against each other; only ids of events and times of recording are their own.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest

from infra.kafka_server import KafkaServer
from tests.e2e.load import Connection, user
from tests.e2e.service import Service, eventually
from tests.e2e.wire import CHARGEBACKS, JSON, ORDERS, PROBLEM
from tests.e2e_kafka.deployment import Deployment
from tests.e2e_kafka.topics import Topics
from tests.webhooks import chargeback_webhook, order_webhook

ORDER_COUNT = 100
CONNECTIONS = 8

History = list[tuple[str, bytes]]
"""One order's webhooks as they are sent, each with its path."""


@pytest.fixture(scope="module")
def both(
    kafka_server: KafkaServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Deployment, Deployment]]:
    """Sync mode and Kafka mode."""
    topics = Topics(kafka_server.brokers, f"equal-{uuid4().hex[:12]}")
    folder = tmp_path_factory.mktemp("equal")
    deployments = Deployment(folder / "sync"), Deployment(folder / "kafka", topics)
    try:
        for deployment in deployments:
            deployment.start()
        yield deployments
        for deployment in deployments:
            deployment.stop()
    finally:
        for deployment in deployments:
            deployment.clean_up()


# ── Histories ─────────────────────────────────────────────────────────────────────────────────────


def life(dice: random.Random, order_id: str, user_id: str, *, contradictions: bool) -> History:
    """One order's webhooks, as they happened; times are often equal, many fields are absent."""

    def fields(**usual: Any) -> dict[str, Any]:
        return {"user_id": user_id, "provider_event_id": f"evt-{dice.getrandbits(64):x}", **usual}

    def meta() -> dict[str, Any]:
        amount = {"amount": f"{dice.randint(1, 9999)}.5", "currency": dice.choice(["USD", "EUR"])}
        return dice.choice([{}, amount, {"amount": "no money", "note": "ü"}])

    def chargeback(status: str, resolution: str | None = None) -> bytes:
        due = f"2026-01-{dice.randint(10, 28)}T00:00:00Z"
        given = fields(reason=dice.choice(["fraud", "not_received"]), amount=dice.randint(1, 99))
        given |= {"evidence_due_at": due} if dice.random() < 0.5 else {}
        minute = dice.randint(0, 6)
        return chargeback_webhook(order_id, status, minute, resolution, **given)

    snapshots = [
        order_webhook(order_id, status, dice.randint(0, 6), **fields(meta=meta()))
        for status in ["created"] * dice.randint(0, 1) + ["updated"] * dice.randint(1, 3)
    ]
    notices = [
        chargeback(status)
        for status in ["opened"] * dice.randint(0, 2) + ["updated", "closed"] * dice.randint(0, 1)
    ]
    decisions = dice.sample(["success", "failed"], 2 if contradictions else dice.randint(0, 1))
    snapshots += [
        order_webhook(order_id, status, dice.randint(0, 6), **fields(meta=meta()))
        for status in decisions
    ]
    resolutions = ["won", "lost", "canceled"]
    resolved = dice.sample(resolutions, dice.randint(0, 3 if contradictions else 1))
    notices += [chargeback("closed", resolution) for resolution in resolved]
    return [*((ORDERS, body) for body in snapshots), *((CHARGEBACKS, body) for body in notices)]


def on_the_way(dice: random.Random, history: History) -> History:
    """What becomes of it: any order, and some of them twice."""
    sent = history + dice.sample(history, dice.randint(0, len(history)))
    dice.shuffle(sent)
    return sent


async def tell(service: Service, histories: Sequence[History]) -> None:
    """Each order's webhooks one after the other; many orders at once, mixed by chance."""

    async def deliver(mine: list[History]) -> None:
        connection, dice = Connection(service.port), random.Random(1)
        left = [iter(history) for history in mine]
        while left:
            one = dice.choice(left)
            if (webhook := next(one, None)) is None:
                left.remove(one)
                continue
            status, answer = await connection.post(*webhook)
            while status == 503:  # a machine too busy to answer in time: as a provider does
                await asyncio.sleep(0.1)
                status, answer = await connection.post(*webhook)
            assert status in (200, 202, 422), answer
        connection.close()

    shares = [list(histories[number::CONNECTIONS]) for number in range(CONNECTIONS)]
    await asyncio.gather(*map(deliver, shares))


# ── What came of them ─────────────────────────────────────────────────────────────────────────────


def event_log(service: Service, orders: str) -> list[tuple[Any, ...]]:
    """Everything but ids of events and times of recording, stream by stream."""

    def said(data: dict[str, Any]) -> dict[str, Any]:
        # Two topics have no order between them: whether a chargeback had to wait for its order, and
        # when, is how it was recorded and not what it came to.
        return {name: value for name, value in data.items() if name != "parked_at"}

    rows = service.query(
        "SELECT order_id, sequence, kind, provider_event_id, data FROM order_events"
        " WHERE order_id LIKE %s ORDER BY order_id, sequence",
        orders,
    ) + service.query(
        "SELECT dispute_id, e.sequence, kind, provider_event_id, data FROM dispute_events AS e"
        " JOIN disputes USING (dispute_id) WHERE order_id LIKE %s ORDER BY dispute_id, e.sequence",
        orders,
    )
    return [(*row[:4], said(row[4])) for row in rows]


def state(service: Service, orders: str) -> list[tuple[Any, ...]]:
    """Every column of every row, but times of recording."""
    return service.query(
        "SELECT order_id, user_id, status, created_at, updated_at, amount_minor, currency,"
        " hold_reason, hold_changed_at, provenance, sequence"
        " FROM orders WHERE order_id LIKE %s ORDER BY order_id",
        orders,
    ) + service.query(
        "SELECT dispute_id, order_id, decision, progress, status, reason, amount_minor, currency,"
        " opened_at, evidence_due_at, closed_at, provenance, sequence"
        " FROM disputes WHERE order_id LIKE %s ORDER BY order_id",
        orders,
    )


def known_ids(service: Service, orders: str) -> list[tuple[Any, ...]]:
    return service.query(
        "SELECT order_id, provider_event_id, space, content_hash, rejected_over FROM webhook_ids"
        " WHERE order_id LIKE %s ORDER BY 1, 2, 3",
        orders,
    )


@pytest.mark.parametrize("contradictions", [False, True], ids=["agreeing", "contradicting"])
@pytest.mark.parametrize("seed", [1, 2])
async def test_the_same_history_in_the_same_order_gives_the_same_logs_and_rows(
    both: tuple[Deployment, Deployment], seed: int, contradictions: bool
) -> None:
    name = f"same-{seed}-{contradictions}"
    dice = random.Random(name)
    # The first webhook of each is of the order, else its chargebacks would wait for ever.
    histories = [
        on_the_way(
            dice, life(dice, f"{name}-{number}", user(number), contradictions=contradictions)
        )
        for number in range(ORDER_COUNT)
    ]
    for deployment in both:
        await tell(deployment.taking, histories)
    both[1].settled()
    in_sync, in_kafka = (event_log(deployment.api, f"{name}-%") for deployment in both)
    assert len(in_sync) > 3 * ORDER_COUNT
    assert any(row[2] == "webhook_rejected" for row in in_sync) == contradictions
    assert in_kafka == in_sync
    for look in (state, known_ids):
        assert look(both[1].api, f"{name}-%") == look(both[0].api, f"{name}-%")


@pytest.mark.parametrize("seed", [3])
async def test_the_same_history_in_any_order_gives_the_same_rows(
    both: tuple[Deployment, Deployment], seed: int
) -> None:
    name = f"any-{seed}"
    dice = random.Random(name)
    lives = [
        life(dice, f"{name}-{number}", user(number), contradictions=False)
        for number in range(ORDER_COUNT)
    ]
    for deployment in both:
        await tell(deployment.taking, [on_the_way(dice, one) for one in lives])
    both[1].settled()
    in_sync, in_kafka = (state(deployment.api, f"{name}-%") for deployment in both)
    assert len(in_sync) > ORDER_COUNT
    assert in_kafka == in_sync
    for deployment in both:
        deployment.api.verify()


# ── The edges ─────────────────────────────────────────────────────────────────────────────────────

_NESTED = b'{"a":' * 2000 + b"1" + b"}" * 2000


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        (ORDERS, b"", {}),
        (ORDERS, b"nonsense", {}),
        (ORDERS, b"{}", {}),
        (ORDERS, b"[]", {}),
        (ORDERS, b"\xff", {}),
        (ORDERS, _NESTED, {}),
        (CHARGEBACKS, b"{}", {}),
        (ORDERS, order_webhook("events", "paid", user_id="me", created_at="2026-01-02"), {}),
        (ORDERS, order_webhook(meta={"a": "\x00"}), {}),
        (ORDERS, order_webhook(meta={f"k{number}": 1 for number in range(65)}), {}),
        (ORDERS, order_webhook(provider_event_id="with space"), {}),
        (CHARGEBACKS, chargeback_webhook(status="closed", resolution="perhaps"), {}),
        (CHARGEBACKS, chargeback_webhook(amount=100.555, reason="\n"), {}),
        (CHARGEBACKS, chargeback_webhook(amount=0, currency="usd"), {}),
        (CHARGEBACKS, chargeback_webhook(amount="1"), {}),
        (CHARGEBACKS, chargeback_webhook().replace(b"100.5", b"NaN"), {}),
        (CHARGEBACKS, chargeback_webhook().replace(b"100.5", b"1e400"), {}),
        (ORDERS, order_webhook(meta={"pad": "x" * 262_144}), {}),
        (ORDERS, order_webhook(), {"Content-Type": "text/plain"}),
        (ORDERS, order_webhook(), {"Content-Encoding": "gzip"}),
    ],
)
def test_bad_input_gets_the_same_answer_in_both_modes(
    both: tuple[Deployment, Deployment], path: str, body: bytes, headers: dict[str, str]
) -> None:
    asked = {**JSON, "X-Correlation-ID": "the-same", **headers}
    in_sync, in_kafka = (
        deployment.webhooks.post(path, content=body, headers=asked) for deployment in both
    )
    assert in_sync.status_code in (400, 413, 415)
    assert in_sync.json().keys() >= PROBLEM
    assert (in_kafka.status_code, in_kafka.content) == (in_sync.status_code, in_sync.content)
    assert _headers(in_kafka.headers) == _headers(in_sync.headers)


@pytest.mark.parametrize("path", [ORDERS, CHARGEBACKS])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_a_wrong_method_gets_the_same_answer_in_both_modes(
    both: tuple[Deployment, Deployment], method: str, path: str
) -> None:
    in_sync, in_kafka = (
        deployment.webhooks.request(method, path, headers={"X-Correlation-ID": "the-same"})
        for deployment in both
    )
    assert (in_sync.status_code, in_sync.headers["allow"]) == (405, "POST")
    assert (in_kafka.status_code, in_kafka.content) == (in_sync.status_code, in_sync.content)
    assert _headers(in_kafka.headers) == _headers(in_sync.headers)


def _headers(found: Any) -> dict[str, str]:
    return {name: value for name, value in found.items() if name != "date"}


def test_in_kafka_mode_each_service_has_its_own_routes_only(
    both: tuple[Deployment, Deployment],
) -> None:
    _, in_kafka = both
    for path, body in ((ORDERS, order_webhook()), (CHARGEBACKS, chargeback_webhook())):
        answer = in_kafka.operators.post(path, content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    for path in ("/orders", "/orders/ord-1", "/orders/events", "/disputes", "/docs", "/", "/x"):
        answer = in_kafka.webhooks.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    for path in ("/orders/ord-1/hold", "/orders/ord-1/capture", "/disputes/x/submit"):
        assert in_kafka.webhooks.post(path, json={}).status_code == 404
    for service in (in_kafka.operators, in_kafka.webhooks):
        eventually(partial(_is_ready, service), timeout=60)
        assert service.get("/health/live").status_code == 200
        assert service.get("/problems/invalid_request").status_code == 200


def _is_ready(service: httpx.Client) -> bool:
    return bool(service.get("/health/ready").json()["status"] == "ready")
