"""What can never be applied becomes a dead letter, alone, unchanged and with its reason."""

import ctypes
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import confluent_kafka
import pytest
from structlog.testing import capture_logs

from payment_manager.adapters.kafka.dead_letters import headers_of
from payment_manager.application.apply_webhooks import ApplyWebhooks, Taken, Webhook
from payment_manager.application.ports import DeadLetter
from payment_manager.application.ports import Message as Polled
from payment_manager.contracts.envelope import Kind, encode
from payment_manager.entrypoints.worker.reading import read
from tests.webhooks import ANN, chargeback_webhook, order_webhook
from tests.worker.flow import Flow, turned

RECEIVED_AT = datetime(2026, 1, 2, tzinfo=UTC)


def enveloped(payload: bytes, kind: Kind = Kind.ORDER) -> bytes:
    return encode(UUID(int=7 << 76), ANN, kind, payload, RECEIVED_AT)


def without(field: str) -> bytes:
    envelope = json.loads(enveloped(order_webhook()))
    del envelope[field]
    return json.dumps(envelope).encode()


def with_field(field: str, value: Any) -> bytes:
    return json.dumps({**json.loads(enveloped(order_webhook())), field: value}).encode()


POISON: dict[str, tuple[bytes | None, str]] = {
    "no value": (None, "must have a value"),
    "empty": (b"", "must be an envelope"),
    "not JSON": (b"{", "must be an envelope"),
    "not UTF-8": (b'{"key":"\xff"}', "must be an envelope"),
    "not an object": (b"[]", "must be an envelope"),
    "another topic's": (
        enveloped(chargeback_webhook(), Kind.DISPUTE),
        "type: must be order.webhook in this topic",
    ),
    "an unknown type": (with_field("type", "refund.webhook"), "type: must be"),
    "no event id": (without("event_id"), "event_id: "),
    "no payload": (without("payload"), "payload: is required"),
    "no timestamp": (without("timestamp"), "timestamp: "),
    "a time without an offset": (
        with_field("timestamp", "2026-01-02T10:00:00"),
        "timestamp: must be an RFC 3339 time with an offset",
    ),
    "a chargeback as an order": (enveloped(chargeback_webhook()), "created_at: "),
    "an unknown status": (enveloped(order_webhook(status="paid")), "status: "),
    "an empty order id": (enveloped(order_webhook(order_id="")), "order_id: "),
    "NUL": (enveloped(order_webhook(meta={"note": "\0"})), "must hold no NUL"),
    "half a surrogate pair": (enveloped(order_webhook(meta={"note": "\ud800"})), ""),
    "a payload that is deeply nested": (
        enveloped(order_webhook()[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}"),
        "",
    ),
    "an envelope that is deeply nested": (b"[" * 100_000, ""),
    "a huge number": (enveloped(order_webhook()[:-1] + b',"x":' + b"9" * 5000 + b"}"), "digits"),
    "a huge exponent": (
        enveloped(order_webhook()[:-1] + b',"x":1e999999999999999999999}'),
        "exponent",
    ),
}


async def test_every_kind_of_poison_is_put_aside_alone_with_its_reason(flow: Flow) -> None:
    for at, (name, (value, _)) in enumerate(POISON.items()):
        flow.orders([at])
        key = None if at % 2 else b"\x00\xff binary"
        headers = [
            ("X-Correlation-ID", b"p-%d" % at),
            ("name", name),
            ("name", b"\xff"),
            ("", None),
        ]
        flow.message(value, key, headers=headers)
    with capture_logs() as lines:
        async with flow.consuming() as consume:
            await turned(consume, 2 * len(POISON))
    assert await flow.applied() == len(POISON)
    assert flow.committed() == 2 * len(POISON)
    letters = {dict(letter.headers)["X-Correlation-ID"]: letter for letter in flow.dead()}
    assert len(letters) == len(flow.dead()) == len(POISON)
    said = {
        line["correlation_id"]: line["reason"] for line in lines if line["event"] == "dead_lettered"
    }
    for at, (name, (value, reason)) in enumerate(POISON.items()):
        letter = letters[b"p-%d" % at]
        assert letter.value == value, name
        assert letter.key == (None if at % 2 else b"\x00\xff binary"), name
        own = list(letter.headers)[:4]
        assert own[1:] == [("name", name.encode()), ("name", b"\xff"), ("", None)]
        why = text_headers(letter)
        assert reason in why["dlq-error-message"], name
        assert why["dlq-error-class"] == "InvalidInput", name
        assert said[f"p-{at}"] == why["dlq-error-message"]


def text_headers(letter: Polled) -> dict[str, str]:
    return {
        name: value.decode()
        for name, value in letter.headers
        if name.startswith("dlq-") and value is not None
    }


async def test_a_letter_says_where_it_was_and_when_it_failed(flow: Flow) -> None:
    flow.message(b"good neighbours", key=b"k")
    before = datetime.now(UTC)
    flow.message(b"poison", key=b"k")
    async with flow.consuming() as consume:
        await turned(consume, 2)
    after = datetime.now(UTC)
    _, letter = flow.dead()
    headers = text_headers(letter)
    assert list(headers) == [
        "dlq-error-class",
        "dlq-error-message",
        "dlq-attempts",
        "dlq-first-failure",
        "dlq-last-failure",
        "dlq-source-topic",
        "dlq-source-partition",
        "dlq-source-offset",
    ]
    assert headers["dlq-attempts"] == "1"
    assert before <= datetime.fromisoformat(headers["dlq-first-failure"]) <= after
    assert headers["dlq-first-failure"] == headers["dlq-last-failure"]
    assert headers["dlq-source-topic"] == flow.topic
    assert headers["dlq-source-offset"] == "1"
    assert flow.committed_in() == {int(headers["dlq-source-partition"]): 2}


async def test_a_replayed_letter_that_fails_again_comes_back_once_and_remembers(
    flow: Flow,
) -> None:
    flow.message(b"poison")
    async with flow.consuming() as consume:
        await turned(consume, 1)
        [letter] = flow.dead()
        flow.message(letter.value, letter.key, headers=letter.headers)
        await turned(consume, 1)
    first, second = map(text_headers, flow.dead())
    assert (first["dlq-attempts"], second["dlq-attempts"]) == ("1", "2")
    assert second["dlq-first-failure"] == first["dlq-first-failure"]
    assert second["dlq-last-failure"] > first["dlq-last-failure"]
    assert len(second) == len(first)


@pytest.mark.parametrize("attempts", [b"", b"-1", b"many", b"9" * 5000, b"\xff", None])
def test_a_count_of_attempts_that_is_none_of_ours_begins_anew(attempts: bytes | None) -> None:
    message = Polled("t", 0, 0, None, b"", [("dlq-attempts", attempts)])
    headers = dict(headers_of(DeadLetter(message, "InvalidInput", "\ud800", RECEIVED_AT)))
    assert headers["dlq-attempts"] == b"1"
    assert headers["dlq-error-message"] == b"?"


async def _refused_by_postgres(flow: Flow) -> None:
    async with flow.pool.connection() as connection:
        await connection.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " IF new.order_id = 'bad' THEN"
            " RAISE check_violation USING CONSTRAINT = 'no_bad_orders', MESSAGE = 'secret';"
            " END IF; RETURN new; END $$"
        )
        await connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse()"
        )


async def test_a_write_that_postgresql_refuses_is_put_aside_alone(flow: Flow) -> None:
    await _refused_by_postgres(flow)
    neighbours = await _bad_among_neighbours(flow)
    async with flow.consuming() as consume:
        await turned(consume, len(neighbours) + 1)
    await _only_bad_is_dead(flow, neighbours)
    headers = text_headers(flow.dead()[0])
    assert headers["dlq-error-class"] == "WriteRefused"
    assert headers["dlq-error-message"] == "CheckViolation 23514 no_bad_orders"


async def test_a_fault_of_the_program_is_put_aside_alone_and_told_in_the_log_only(
    flow: Flow,
) -> None:
    neighbours = await _bad_among_neighbours(flow)
    real = flow.apply()

    class Faulty(ApplyWebhooks):
        async def _apply(self, batch: Sequence[Webhook]) -> Sequence[Taken]:
            if any(webhook.notice.order_id == "bad" for webhook in batch):
                raise ValueError("secret")
            return await real._apply(batch)

    faulty = Faulty(real._database, real._clock, real._event_ids, flow.telemetry)
    with capture_logs() as lines:
        async with flow.consuming(apply=faulty) as consume:
            await turned(consume, len(neighbours) + 1)
    await _only_bad_is_dead(flow, neighbours)
    headers = text_headers(flow.dead()[0])
    assert headers["dlq-error-class"] == "ValueError"
    assert headers["dlq-error-message"] == "a fault in the service; see its log"
    [failed] = [line for line in lines if line["event"] == "webhook_failed"]
    assert str(failed["exc_info"]) == "secret"
    assert failed["correlation_id"] == "flow"


async def test_a_fault_of_the_reading_is_put_aside_alone(
    flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    neighbours = await _bad_among_neighbours(flow)

    def faulty(message: Polled, *more: Any) -> Any:
        if b'"bad"' in (message.value or b""):
            raise RecursionError
        return read(message, *more)

    monkeypatch.setattr("payment_manager.entrypoints.worker.consume.read", faulty)
    async with flow.consuming() as consume:
        await turned(consume, len(neighbours) + 1)
    await _only_bad_is_dead(flow, neighbours)
    assert text_headers(flow.dead()[0])["dlq-error-class"] == "RecursionError"


async def _bad_among_neighbours(flow: Flow) -> set[str]:
    flow.orders(range(10))
    flow.webhooks(order_webhook("bad"))
    flow.orders(range(10, 20))
    return {f"ord-{number}" for number in range(20)}


async def _only_bad_is_dead(flow: Flow, neighbours: set[str]) -> None:
    assert {event.order_id for event in await flow.events()} == neighbours
    [letter] = flow.dead()
    assert b'"bad"' in (letter.value or b"")
    assert b"secret" not in repr(letter.headers).encode()
    assert flow.committed() == len(neighbours) + 1
    assert flow.metric('webhooks_total{outcome="dead_lettered",space="order"}') == 1
    assert flow.metric('webhooks_total{outcome="applied",space="order"}') == len(neighbours)


async def test_the_same_id_with_other_content_is_put_aside_and_the_first_stays(flow: Flow) -> None:
    flow.webhooks(
        order_webhook("ord-1", provider_event_id="evt-1"),
        order_webhook("ord-1", provider_event_id="evt-1", minute=5),
        order_webhook("ord-1", provider_event_id="evt-2", minute=6),
    )
    async with flow.consuming() as consume:
        await turned(consume, 3)
    assert [event.provider_event_id for event in await flow.events()] == ["evt-1", "evt-2"]
    [letter] = flow.dead()
    assert text_headers(letter)["dlq-error-class"] == "WebhookConflict"
    assert flow.committed() == 3


async def test_a_rejected_webhook_is_an_event_and_no_dead_letter(flow: Flow) -> None:
    flow.webhooks(
        order_webhook("ord-1", "success", 1),
        order_webhook("ord-1", "failed", 2),
    )
    async with flow.consuming() as consume:
        await turned(consume, 2)
    assert len(await flow.events()) == 2
    assert flow.dead() == []
    assert flow.metric('webhooks_total{outcome="rejected",space="order"}') == 1


async def test_a_webhook_with_headers_of_a_dead_letter_is_applied_as_any(flow: Flow) -> None:
    headers = [("dlq-attempts", b"9" * 5000), ("dlq-source-topic", b"\xff")]
    flow.message(enveloped(order_webhook()), headers=headers)
    async with flow.consuming() as consume:
        await turned(consume, 1)
    assert await flow.applied() == 1


async def test_headers_that_the_client_cannot_read_stop_nothing(flow: Flow) -> None:
    flow.orders(range(50))  # an interpreter that is warm checks less
    nameless(flow, enveloped(order_webhook()))
    nameless(flow, b"poison")
    flow.orders([50])
    async with flow.consuming() as consume:
        await turned(consume, 53)
    assert await flow.applied() == 52
    [letter] = flow.dead()
    assert letter.value == b"poison"
    assert len(text_headers(letter)) == len(letter.headers) == 8


def nameless(flow: Flow, value: bytes) -> None:
    """A message with a header whose name is no UTF-8: other clients than Python's can write it."""
    package = Path(confluent_kafka.__file__).parent
    [library] = package.with_name("confluent_kafka.libs").glob("librdkafka*.so*")
    client = ctypes.CDLL(str(library))
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(client, name).restype = ctypes.c_void_p
    settings = ctypes.c_void_p(client.rd_kafka_conf_new())
    said = ctypes.create_string_buffer(200)
    brokers = flow.brokers.encode()
    client.rd_kafka_conf_set(settings, b"bootstrap.servers", brokers, said, 200)
    producer = ctypes.c_void_p(client.rd_kafka_new(0, settings, said, 200))
    headers = ctypes.c_void_p(client.rd_kafka_headers_new(1))
    client.rd_kafka_header_add(headers, b"\xff\xfe", 2, b"v", 1)
    # Its variable arguments: topic, value with its size, "copy it", headers, end.
    topic, size = flow.topic.encode(), ctypes.c_size_t(len(value))
    fault = client.rd_kafka_producev(producer, 1, topic, 4, value, size, 7, 2, 10, headers, 0)
    assert (fault, client.rd_kafka_flush(producer, 20_000)) == (0, 0)
    client.rd_kafka_destroy(producer)
