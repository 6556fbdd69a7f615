"""Poison in the flow, and dead letters that can't be written: neither costs a good webhook."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

from confluent_kafka import KafkaException
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource

from payment_manager.contracts.envelope import Kind, encode
from tests.e2e.chaos import assert_nothing_lost
from tests.e2e.load import user
from tests.e2e.service import SECRET, eventually
from tests.e2e.wire import ORDERS
from tests.e2e_kafka.chaos import TAKEN
from tests.e2e_kafka.conftest import Deploy
from tests.e2e_kafka.deployment import Deployment
from tests.e2e_kafka.topics import Topics
from tests.webhooks import chargeback_webhook, order_webhook

WEBHOOKS = 2000
POISON_EVERY = 100


def wrapped(kind: Kind, payload: bytes) -> bytes:
    return encode(uuid4(), "key", kind, payload, datetime.now(UTC))


POISON: list[Callable[[], bytes | None]] = [
    lambda: f"nonsense {uuid4()} {SECRET}".encode(),
    lambda: b"\xff\xfe" + uuid4().bytes,
    lambda: json.dumps({"event_id": str(uuid4()), "payload": {}}).encode(),
    lambda: json.dumps([SECRET, str(uuid4())]).encode(),
    lambda: wrapped(Kind.DISPUTE, chargeback_webhook()),  # in the wrong topic
    lambda: wrapped(Kind.ORDER, order_webhook(status=SECRET)),
    lambda: wrapped(Kind.ORDER, order_webhook(updated_at="2026-01-02T10:00:00")),
    lambda: wrapped(Kind.ORDER, order_webhook(order_id="events")),
    lambda: wrapped(Kind.ORDER, b"[]"),
    lambda: None,
]
"""What may lie in the orders' topic and can never be applied; each call makes another one."""


async def test_one_percent_of_poison_is_put_aside_with_its_reason_and_all_else_is_applied(
    deploy: Deploy,
) -> None:
    deployment = deploy()
    topics = deployment.start().topics
    deployment.expect("dead_letters_refused")  # for a moment, where a busy broker stands still
    load = deployment.load()
    poison: list[tuple[str, bytes | None]] = []
    conflicts: list[bytes] = []
    async with load.flowing():
        for number in range(WEBHOOKS // POISON_EVERY):
            await load.more(POISON_EVERY)
            # Among the good ones of the same key.
            key, value = user(number), POISON[number % len(POISON)]()
            topics.put(topics.orders, key, value)
            poison.append((key, value))
            # The id of one that is acknowledged, with other content.
            order_id, taken = [sent[1:] for sent in load.acknowledged if sent[0] == ORDERS][-1]
            owner = user(int(order_id.rpartition("-")[2]))
            conflict = order_webhook(order_id, user_id=owner, provider_event_id=taken, n=number)
            await asyncio.to_thread(deployment.deliver, ORDERS, conflict)
            conflicts.append(conflict)
    deployment.settled()

    written = topics.dead_letters()
    letters = list({letter.source: letter for letter in written}.values())
    # One is there twice only if the broker's answer to the first came too late.
    told = {entry["event"] for entry in deployment.api.log}
    assert len(letters) == len(written) or told & {"dead_letters_refused", "partitions_revoked"}
    # So may a conflict be: sent again after a 503, it is another message.
    sent = [message.value() or b"" for message in topics.messages(topics.orders)]
    sent_conflicts = sum(value.count(body) for value in sent for body in conflicts)
    found = Counter(letter.headers["dlq-error-class"] for letter in letters)
    assert found == {"InvalidInput": len(poison), "WebhookConflict": sent_conflicts}
    invalid = [each for each in letters if each.headers["dlq-error-class"] == "InvalidInput"]
    unchanged = Counter((str(each.key, "utf-8"), each.value) for each in invalid if each.key)
    assert unchanged == Counter(poison)
    conflicting = [each for each in letters if each not in invalid]
    payloads = [json.loads(each.value or b"")["payload"] for each in conflicting]
    assert set(map(json.dumps, payloads)) == {body.decode() for body in conflicts}
    for letter in letters:
        assert_says_why(letter.headers, topics)

    assert_nothing_lost(deployment.api, load)
    eventually(lambda: dead_lettered(deployment) >= len(letters), timeout=60)
    [(known,)] = deployment.api.query("SELECT count(*) FROM webhook_ids")
    assert known == len(load.acknowledged)
    deployment.stop()


def assert_says_why(said: dict[str, str], topics: Topics) -> None:
    assert said["dlq-error-message"]
    assert SECRET not in "".join(said.values())
    assert said["dlq-attempts"] == "1"
    assert said["dlq-source-topic"] == topics.orders
    first, last = (
        datetime.fromisoformat(said[name]) for name in ("dlq-first-failure", "dlq-last-failure")
    )
    assert first == last
    assert first.tzinfo is not None
    assert datetime.now(UTC) - first < timedelta(hours=1)


def dead_lettered(deployment: Deployment) -> float:
    return deployment.metric(deployment.api, "webhooks_total", outcome="dead_lettered")


# ── Dead letters that can't be written ────────────────────────────────────────────────────────────


def remove(deployment: Deployment) -> None:
    topics = deployment.topics
    topics.remove(f"{topics.orders}.dlq")


def make(deployment: Deployment) -> None:
    topics = deployment.topics
    topics.make([f"{topics.orders}.dlq"])


def restart(deployment: Deployment) -> None:
    """Which makes what is missing. A consumer that waits can be stopped too."""
    assert deployment.api.stop() == 0
    deployment.api.start()


def shrink(deployment: Deployment) -> None:
    topics = deployment.topics
    _set_size(topics, "100")
    # The broker hears of it a moment later: refused must be one where the poison's letter will go.
    eventually(lambda: not topics.takes(f"{topics.orders}.dlq", user(0), b"x" * 1000), timeout=60)


def enlarge(deployment: Deployment) -> None:
    _set_size(deployment.topics, "2000000")


def _set_size(topics: Topics, size: str) -> None:
    change = ConfigEntry("max.message.bytes", size, incremental_operation=AlterConfigOpType.SET)
    topic = ConfigResource(
        ConfigResource.Type.TOPIC, f"{topics.orders}.dlq", incremental_configs=[change]
    )
    admin = topics.admin()
    for changed in admin.incremental_alter_configs([topic]).values():
        changed.result(10)


async def test_dead_letters_that_are_refused_hold_the_offsets_until_they_are_taken(
    deploy: Deploy,
) -> None:
    deployment = deploy()
    topics = deployment.start().topics
    deployment.expect("dead_letters_refused")
    # The writer knows the topic, and has written there before.
    topics.put(topics.orders, user(0), b"poison 0")
    deployment.settled()
    refused: list[tuple[str, int, int]] = []
    load = deployment.load(per_second=60)
    async with load.flowing():
        for harm, repair in ((shrink, enlarge), (remove, make), (remove, restart)):
            await asyncio.to_thread(harm, deployment)
            poison = b"poison %d" % (len(refused) + 1)
            partition, offset = topics.put(topics.orders, user(0), poison)
            refused.append((topics.orders, partition, offset))
            await until(lambda: is_refused(deployment))
            # The commit of what was applied before isn't waited for: by now it is there.
            await load.more(100)
            orders_stood = topics.committed(topics.orders)
            disputes_stood = topics.committed(topics.disputes)
            await load.more(100)
            await until(lambda: waits(deployment))
            # Not its trouble.
            await until(partial(have_moved_on, topics, topics.disputes, disputes_stood))
            assert load.answers.keys() <= TAKEN
            assert topics.committed(topics.orders) == orders_stood
            assert orders_stood[partition] <= offset
            await until(lambda: is_refused(deployment))
            await until(lambda: pending(deployment) > 0)
            await asyncio.to_thread(repair, deployment)
            # What was written before is gone with its topic, which is the test's doing.
            await until(lambda: not is_refused(deployment))
            await until(lambda: refused[-1] in sources(topics))
    await asyncio.to_thread(deployment.settled)
    await until(lambda: pending(deployment) == 0)
    assert_nothing_lost(deployment.api, load)
    deployment.stop()


async def until(is_so: Callable[[], bool]) -> None:
    """Beside the load. An attempt at a letter takes up to seven seconds, and the next one may be
    five more away.
    """
    await asyncio.to_thread(eventually, is_so, 90)


def have_moved_on(topics: Topics, topic: str, stood: Sequence[int]) -> bool:
    return sum(topics.committed(topic)) > sum(stood)


def sources(topics: Topics) -> set[tuple[str, int, int]]:
    """A letter that was written twice says by its source that it is one."""
    try:
        return {letter.source for letter in topics.dead_letters()}
    except KafkaException:  # the topic was made this very moment
        return set()


def pending(deployment: Deployment) -> float:
    """I2's last term, which is looked at every few seconds."""
    return deployment.metric(deployment.api, "webhooks_pending", space="order")


def waits(deployment: Deployment) -> bool:
    """The probe says so, and that the service is good for all else."""
    ready = deployment.operators.get("/health/ready")
    checks = ready.json()["checks"]
    return (ready.status_code, checks["dispute_consumer"]) == (200, "ok") and checks[
        "order_consumer"
    ].startswith("degraded: waits")


def is_refused(deployment: Deployment) -> bool:
    """The alarm."""
    return deployment.metric(deployment.api, "dead_letters_refused", space="order") == 1
