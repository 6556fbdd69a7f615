"""Dead letters as operators meet them: which are open, what was done about them, and by whom.

How to think about it: letters are written by the writer that consumers use, to topics of the test's
own; what a replay gives back is read from there by a client that knows nothing of us.
"""

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from psycopg_pool import AsyncConnectionPool
from structlog.testing import capture_logs

from infra.kafka_server import KafkaServer
from payment_manager.adapters.kafka.connection import client_config
from payment_manager.adapters.kafka.dead_letter_box import KafkaDeadLetterBox
from payment_manager.adapters.kafka.dead_letters import KafkaDeadLetters
from payment_manager.adapters.postgres import migrate
from payment_manager.adapters.postgres.dead_letter_actions import PostgresDeadLetterActions
from payment_manager.adapters.telemetry.metrics import PrometheusTelemetry
from payment_manager.application.dead_letters import (
    By,
    Chosen,
    DeadLetterTriage,
    Step,
    Verdict,
    count_letters,
)
from payment_manager.application.ports import (
    DeadLetter,
    Handled,
    Handling,
    LetterId,
    Message,
    Space,
    Unavailable,
)
from payment_manager.contracts.envelope import CORRELATION_HEADER, Kind, encode
from payment_manager.entrypoints.dlq.contents import ReadContents
from payment_manager.entrypoints.dlq.work import act_on_letters, list_letters, show_letter
from payment_manager.entrypoints.worker import letter_counts
from payment_manager.entrypoints.worker.letter_counts import keep_counting_dead_letters
from payment_manager.settings import Settings, load
from tests.clock import FakeClock
from tests.webhooks import ANN, order_webhook

BY_ANN, BY_BOB = By("ann", "the sender was repaired"), By("bob", "so it was")
REPLAYED, DROPPED = Handling.REPLAYED, Handling.DROPPED
FAILED_AT = datetime(2026, 1, 2, 10, tzinfo=UTC)
SECONDS_MAX = 60.0
POISON = b'{"payload": {"order_id": "ord-9"}}'


def sound(order_id: str = "ord-1") -> bytes:
    """A message's value that every consumer can read."""
    return encode(UUID(int=7 << 76), ANN, Kind.ORDER, order_webhook(order_id), FAILED_AT)


class Post:
    """A space's topics of one test, with its letters."""

    def __init__(self, brokers: str, topic: str, pool: AsyncConnectionPool) -> None:
        self.brokers, self.topic = brokers, topic
        self.admin = AdminClient({"bootstrap.servers": brokers})
        client = client_config(self.settings)
        self.writer = KafkaDeadLetters(client)
        topics = {Space.ORDER: topic, Space.DISPUTE: f"{topic}.disputes"}  # of no second topic
        self.box = KafkaDeadLetterBox(client, topics, ask_seconds=SECONDS_MAX)
        self.actions = PostgresDeadLetterActions(pool)
        self.clock = FakeClock()
        self.triage = self.another_triage()

    @property
    def settings(self) -> Settings:
        return load(Settings, kafka_brokers=self.brokers)

    def another_triage(self) -> DeadLetterTriage:
        return DeadLetterTriage(self.box, self.actions, self.clock, ReadContents())

    def make(self, name: str, partitions: int = 1) -> None:
        self.admin.create_topics([NewTopic(name, partitions, 1)])[name].result(SECONDS_MAX)
        # Known to whoever asks: the client would wait for that a second at a time.
        self.wait_until_told_of(name, is_there=True)

    def wait_until_told_of(self, topic: str, *, is_there: bool) -> None:
        deadline = time.monotonic() + SECONDS_MAX
        while (topic in self.admin.list_topics(timeout=SECONDS_MAX).topics) is not is_there:
            assert time.monotonic() < deadline

    async def write(
        self, *values: bytes | None, error: str = "InvalidInput", first_offset: int = 0
    ) -> None:
        """A letter for each, as a consumer does that met them at these offsets."""
        await self.writer.put(
            [
                DeadLetter(
                    Message(
                        self.topic, 3, first_offset + number, b"ann", value,
                        [(CORRELATION_HEADER, b"c-1")],
                    ),
                    error, "payload: is wrong", FAILED_AT,
                )
                for number, value in enumerate(values)
            ]
        )  # fmt: skip

    async def opened(self, limit: int = 100) -> list[str]:
        listing = await self.triage.listing([Space.ORDER], limit, False)
        return [f"{shown.letter.id.partition}/{shown.letter.id.offset}" for shown in listing.shown]

    async def count(self) -> int:
        return (await count_letters(self.box, self.actions, Space.ORDER)).open

    async def act(
        self, handling: Handling, *chosen: LetterId | str, by: By | None = BY_ANN
    ) -> list[Step]:
        """By ids, by the name of an error class, or else all."""
        ids = [each for each in chosen if isinstance(each, LetterId)]
        names = [each for each in chosen if isinstance(each, str)]
        picked = Chosen(ids, names[0] if names else None)
        async with aclosing(self.triage.act(handling, picked, by)) as steps:
            return [step async for step in steps]

    async def past(self, id: LetterId) -> Sequence[Handled]:
        found = await self.triage.letter(id)
        assert found is not None
        return found[0].past

    def given_back(self) -> list[tuple[bytes | None, bytes | None, dict[str, Any]]]:
        """Key, value and headers of all that is in the source topic, to its end."""
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": f"{self.topic}.look"})
        try:
            at = TopicPartition(self.topic, 0, 0)
            _, end = consumer.get_watermark_offsets(at, timeout=SECONDS_MAX)
            consumer.assign([at])
            read = consumer.consume(end, timeout=SECONDS_MAX) if end else []
            assert len(read) == end
            return [(each.key(), each.value(), dict(each.headers() or [])) for each in read]
        finally:
            consumer.close()


def place(offset: int, partition: int = 0) -> LetterId:
    return LetterId(Space.ORDER, partition, offset)


def verdicts(steps: Sequence[Step]) -> list[Verdict]:
    return [step.verdict for step in steps]


@pytest.fixture
def bare_post(kafka_server: KafkaServer, topic_prefix: str, pool: AsyncConnectionPool) -> Post:
    """Its topics are for the test to make."""
    return Post(kafka_server.brokers, f"{topic_prefix}.in", pool)


@pytest.fixture
def post(bare_post: Post) -> Post:
    bare_post.make(bare_post.topic)
    bare_post.make(f"{bare_post.topic}.dlq")
    return bare_post


# ── What is open ──────────────────────────────────────────────────────────────────────────────────


async def test_a_letter_says_all_that_its_headers_say(post: Post) -> None:
    await post.write(POISON, error="WebhookConflict", first_offset=41)
    [shown] = (await post.triage.listing([Space.ORDER], 10, False)).shown
    letter = shown.letter
    assert (letter.id, letter.topic) == (place(0), f"{post.topic}.dlq")
    assert (letter.error_class, letter.error_message) == ("WebhookConflict", "payload: is wrong")
    assert (letter.source_topic, letter.source_partition, letter.source_offset) == (
        post.topic, 3, 41,
    )  # fmt: skip
    assert (letter.attempts, letter.correlation_id, shown.order_id) == (1, "c-1", "ord-9")
    assert letter.first_failure == letter.last_failure == FAILED_AT.isoformat()
    assert abs(letter.written_at - datetime.now(UTC)) < timedelta(minutes=5)


async def test_without_topics_and_without_letters_nothing_is_open(bare_post: Post) -> None:
    assert await bare_post.opened() == []
    assert await bare_post.count() == 0
    assert await bare_post.act(REPLAYED) == []
    bare_post.make(f"{bare_post.topic}.dlq", partitions=3)
    assert await bare_post.opened() == []
    assert await bare_post.count() == 0
    assert await bare_post.triage.letter(place(0)) is None


async def test_a_list_shows_the_oldest_and_counts_all(bare_post: Post) -> None:
    bare_post.make(f"{bare_post.topic}.dlq", partitions=3)
    producer = Producer({"bootstrap.servers": bare_post.brokers})
    for number in range(60):  # newest first, over all partitions
        headers: dict[str, Any] = {"dlq-error-class": f"Class{number % 2}"}
        producer.produce(
            f"{bare_post.topic}.dlq", b"x", partition=number % 3,
            timestamp=1_700_000_000_000 - number, headers=headers,
        )  # fmt: skip
    assert producer.flush(SECONDS_MAX) == 0
    listing = await bare_post.triage.listing(list(Space), 4, False)
    times = [shown.letter.written_at.timestamp() * 1000 for shown in listing.shown]
    assert [round(1_700_000_000_000 - each) for each in times] == [59, 58, 57, 56]
    assert listing.open == {(Space.ORDER, "Class0"): 30, (Space.ORDER, "Class1"): 30}


async def test_a_letter_that_a_crash_wrote_twice_is_one_letter(post: Post) -> None:
    await post.write(POISON, b"other")
    await post.write(POISON)
    listing = await post.triage.listing([Space.ORDER], 10, False)
    assert [(shown.letter.id.offset, shown.copies) for shown in listing.shown] == [(0, 2), (1, 1)]
    assert listing.open.total() == 2
    steps = await post.act(DROPPED, place(2))
    assert Counter(verdicts(steps)) == {Verdict.DONE: 1, Verdict.COPY: 1}
    assert await post.opened() == ["0/1"]
    assert await post.count() == 1
    closed = (await post.triage.listing([Space.ORDER], 10, True)).shown
    assert [shown.copies for shown in closed if shown.past] == [2]


async def test_two_messages_of_a_sender_are_two_letters_even_where_they_are_equal(
    post: Post,
) -> None:
    await post.write(POISON, POISON)
    assert await post.opened() == ["0/0", "0/1"]


async def test_letters_of_a_topic_that_was_made_again_are_open(post: Post) -> None:
    await post.write(POISON)
    await post.act(DROPPED)
    assert await post.count() == 0
    dead = f"{post.topic}.dlq"
    post.admin.delete_topics([dead])[dead].result(SECONDS_MAX)
    # Else what is there afterwards may still be the old one.
    post.wait_until_told_of(dead, is_there=False)
    post.make(dead)
    await post.write(POISON)
    assert await post.opened() == ["0/0"]
    assert await post.count() == 1


async def test_what_others_wrote_there_is_shown_and_can_be_dropped(post: Post) -> None:
    producer = Producer({"bootstrap.servers": post.brokers})
    odd: list[tuple[str, str | bytes | None]] = [
        ("dlq-error-class", b"\xff\0\x1b[31m"), ("dlq-attempts", b"9" * 30),
        ("dlq-source-offset", b"-1"), ("dlq-source-partition", None),
    ]  # fmt: skip
    producer.produce(f"{post.topic}.dlq", value=None, headers=odd)
    producer.produce(f"{post.topic}.dlq", value=b"\xff\0")
    assert producer.flush(SECONDS_MAX) == 0
    assert await post.opened() == ["0/0", "0/1"]
    assert verdicts(await post.act(DROPPED)) == [Verdict.DONE, Verdict.DONE]
    assert await post.opened() == []


async def test_a_topic_that_grows_is_read_to_where_it_ended_at_the_start(post: Post) -> None:
    await post.write(*[POISON] * 5)
    async with aclosing(post.box.letters(Space.ORDER)) as chunks:
        seen = 0
        async for chunk in chunks:
            seen += len(chunk)
            await post.write(*[POISON] * 5, first_offset=5)
        assert seen == 5


async def test_aborted_and_marker_offsets_do_not_hold_the_reader(post: Post) -> None:
    producer = Producer({"bootstrap.servers": post.brokers, "transactional.id": post.topic})
    producer.init_transactions(SECONDS_MAX)
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        producer.produce(f"{post.topic}.dlq", value=b"x")
        end(SECONDS_MAX)
    assert await post.opened() == ["0/0"]
    assert await post.triage.letter(place(1)) is None  # a marker


# ── Replay ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_replay_gives_the_message_back_unchanged_and_is_recorded(post: Post) -> None:
    value = sound()
    await post.write(POISON, value)
    [step] = await post.act(REPLAYED, place(1))
    assert (step.verdict, step.order_id, step.fault) == (Verdict.DONE, "ord-1", None)
    [(key, given, headers)] = post.given_back()
    assert (key, given, headers[CORRELATION_HEADER]) == (b"ann", value, b"c-1")
    assert headers["dlq-attempts"] == b"1"  # so that its next failure is the second
    assert await post.past(place(1)) == [
        Handled(REPLAYED, "ann", "the sender was repaired", post.clock.now(), (0, 0))
    ]
    assert await post.opened() == ["0/0"]
    assert await post.count() == 1


async def test_a_rehearsal_tells_the_same_and_changes_nothing(post: Post) -> None:
    await post.write(POISON, sound(), None)
    await post.write(sound("ord-2"), error="WebhookConflict", first_offset=9)
    for handling, expected in (
        (REPLAYED, [Verdict.UNREADABLE, Verdict.READY, Verdict.UNREADABLE, Verdict.READY]),
        (DROPPED, [Verdict.READY] * 4),
    ):
        assert verdicts(await post.act(handling, by=None)) == expected
    assert post.given_back() == []
    assert await post.count() == 4
    [named, missing] = sorted(
        await post.act(REPLAYED, place(0), place(17), by=None), key=lambda step: step.id
    )
    assert (named.verdict, missing.verdict) == (Verdict.READY, Verdict.MISSING)
    assert named.fault == "event_id: must be a UUID"
    assert await post.count() == 4


async def test_what_would_come_back_is_left_unless_it_is_named(post: Post) -> None:
    await post.write(POISON, sound())
    assert verdicts(await post.act(REPLAYED)) == [Verdict.UNREADABLE, Verdict.DONE]
    assert await post.opened() == ["0/0"]
    assert verdicts(await post.act(REPLAYED, place(0))) == [Verdict.DONE]
    assert [value for _, value, _ in post.given_back()][1:] == [POISON]


async def test_an_error_class_is_replayed_without_the_others(post: Post) -> None:
    await post.write(sound("ord-1"), error="WriteRefused")
    await post.write(sound("ord-2"), error="WebhookConflict", first_offset=1)
    [step] = await post.act(REPLAYED, "WriteRefused")
    assert step.order_id == "ord-1"
    assert await post.opened() == ["0/1"]
    assert await post.act(REPLAYED, "NoSuchClass") == []


async def test_letters_of_a_key_are_replayed_in_their_order(post: Post) -> None:
    values = [sound(f"ord-{number}") for number in range(450)]
    await post.write(*values)
    assert verdicts(await post.act(REPLAYED)) == [Verdict.DONE] * 450
    assert [value for _, value, _ in post.given_back()] == values
    assert await post.count() == 0


async def test_of_two_operators_at_once_one_replays_and_the_other_is_told(post: Post) -> None:
    await post.write(*[sound(f"ord-{number}") for number in range(20)])
    ids = [place(number) for number in range(20)]

    async def replay(by: By) -> list[Step]:
        async with aclosing(post.another_triage().act(REPLAYED, Chosen(ids), by)) as steps:
            return [step async for step in steps]

    both = await asyncio.gather(replay(BY_ANN), replay(BY_BOB))
    steps = [step for each in both for step in each]
    assert Counter(verdicts(steps)) == {Verdict.DONE: 20, Verdict.EARLIER: 20}
    assert len(post.given_back()) == 20
    first, second = (each for each in sorted(both, key=lambda each: each[0].verdict != "done"))
    assert first[0].handled == second[0].handled


async def test_where_the_record_fails_the_letters_stay_open_and_are_said_to_be_replayed(
    post: Post, pool: AsyncConnectionPool
) -> None:
    await post.write(sound())
    async with pool.connection() as connection:
        await connection.execute(
            "CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full'; END$$;"
            " CREATE TRIGGER away BEFORE INSERT ON dead_letter_actions EXECUTE FUNCTION away()"
        )
    with pytest.raises(Unavailable, match=r"1 letters were replayed.*again is harmless"):
        await post.act(REPLAYED)
    assert await post.opened() == ["0/0"]
    assert len(post.given_back()) == 1


async def test_what_the_topic_refuses_stays_open_and_the_others_go(bare_post: Post) -> None:
    topic = bare_post.topic
    small = NewTopic(topic, 1, 1, config={"max.message.bytes": "2000"})
    bare_post.admin.create_topics([small])[topic].result(SECONDS_MAX)
    bare_post.make(f"{topic}.dlq")
    await bare_post.write(sound(), b"x" * 5_000)
    steps = await bare_post.act(REPLAYED, place(1))
    assert [(step.verdict, step.fault) for step in steps] == [
        (Verdict.FAILED, "MSG_SIZE_TOO_LARGE")
    ]
    assert verdicts(await bare_post.act(REPLAYED)) == [Verdict.DONE, Verdict.UNREADABLE]
    assert await bare_post.opened() == ["0/1"]


# ── Drop ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_drop_closes_a_letter_and_a_replay_by_name_takes_it_back(post: Post) -> None:
    await post.write(sound())
    assert verdicts(await post.act(DROPPED)) == [Verdict.DONE]
    assert await post.opened() == []
    post.clock.advance(minutes=1)
    assert await post.act(REPLAYED, by=BY_BOB) == []  # all that are open
    [again] = await post.act(DROPPED, place(0), by=BY_BOB)
    assert again.verdict is Verdict.EARLIER
    assert again.handled is not None
    assert again.handled.actor == "ann"
    assert verdicts(await post.act(REPLAYED, place(0), by=BY_BOB)) == [Verdict.DONE]
    assert [done.actor for done in await post.past(place(0))] == ["ann", "bob"]
    assert verdicts(await post.act(DROPPED, place(0))) == [Verdict.EARLIER]
    assert await post.count() == 0


async def test_every_action_leaves_its_row(post: Post, pool: AsyncConnectionPool) -> None:
    await post.write(POISON, sound())
    await post.act(DROPPED, place(0))
    await post.act(REPLAYED, place(1), by=BY_BOB)
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "SELECT topic_partition, letter_offset, action, actor, reason, acted_at, error_class,"
            " source_topic, source_partition, source_offset, correlation_id, replayed_partition,"
            " replayed_offset FROM dead_letter_actions ORDER BY letter_offset"
        )
        rows = await cursor.fetchall()
    at = post.clock.now()
    why = ("InvalidInput", post.topic, 3)
    assert rows == [
        (0, 0, "dropped", "ann", BY_ANN.reason, at, *why, 0, "c-1", None, None),
        (0, 1, "replayed", "bob", BY_BOB.reason, at, *why, 1, "c-1", 0, 0),
    ]


# ── On the screen ─────────────────────────────────────────────────────────────────────────────────


async def test_nothing_that_stands_in_a_letter_moves_the_cursor(
    post: Post, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[2J\u009b31m\u202e[red]".encode()
    headers: dict[str, Any] = {"dlq-error-class": evil, "dlq-error-message": evil, "x": b"\xff\x1b"}
    producer = Producer({"bootstrap.servers": post.brokers})
    for value in (evil, b'{"payload":{"order_id":"%b"}}' % evil[5:], b"\xff\x1b", None):
        producer.produce(f"{post.topic}.dlq", value, key=evil, headers=headers)
    assert producer.flush(SECONDS_MAX) == 0
    for as_json in (False, True):
        await list_letters(post.triage, [Space.ORDER], 10, True, as_json)
        for offset in range(4):
            await show_letter(post.triage, place(offset), as_json)
    await act_on_letters(post.triage, DROPPED, Chosen(), BY_ANN)
    printed = capsys.readouterr().out
    assert not [each for each in printed if not each.isprintable() and each != "\n"]
    assert "[red]" in printed


async def test_a_letter_is_shown_whole_and_for_machines_byte_for_byte(
    post: Post, capsys: pytest.CaptureFixture[str]
) -> None:
    await post.write(b'{"amount": 100.50, "name": "J\xc3\xb6rg"}', b"\xff")
    await post.act(DROPPED, place(0))
    capsys.readouterr()
    await show_letter(post.triage, place(0), False)
    shown = capsys.readouterr().out
    assert shown.startswith("orders/0/0, dropped\n")
    assert '  "amount": 100.50,\n  "name": "Jörg"\n' in shown
    assert "would still fail" in shown
    assert "dropped by ann at" in shown
    await show_letter(post.triage, place(1), True)
    document = json.loads(capsys.readouterr().out)
    assert base64.b64decode(document["value_base64"]) == b"\xff"
    assert (document["state"], document["source_topic"]) == ("open", post.topic)


async def test_of_many_letters_the_first_are_named_and_all_are_counted(
    post: Post, capsys: pytest.CaptureFixture[str]
) -> None:
    await post.write(*[sound(f"ord-{number}") for number in range(120)])
    await act_on_letters(post.triage, DROPPED, Chosen(), None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "orders/0/0, InvalidInput, order ord-0: would be dropped"
    assert lines[50:] == [
        "… and more of these",
        "120 letters would be dropped",
        "nothing was changed: say --yes and --reason to do it",
    ]
    await list_letters(post.triage, list(Space), 2, False, False)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "120 open dead letters: 120 InvalidInput",
        "the oldest 2 are shown; 118 more: --limit",
    ]


async def test_the_audit_trail_goes_and_comes_with_its_migration(database_url: str) -> None:
    await asyncio.to_thread(migrate.downgrade, database_url, "0001")
    assert migrate.current(database_url) == "0001"
    await asyncio.to_thread(migrate.upgrade, database_url)
    assert migrate.current(database_url) == migrate.head()


# ── A broker that is away ─────────────────────────────────────────────────────────────────────────


async def test_without_a_broker_the_question_ends_in_seconds(pool: AsyncConnectionPool) -> None:
    post = Post("127.0.0.1:1", "nobody", pool)
    post.box = KafkaDeadLetterBox(
        client_config(post.settings), dict.fromkeys(Space, "nobody"), ask_seconds=0.5
    )
    with pytest.raises(Unavailable, match="KAFKA_BROKERS: no broker answers"):
        await post.another_triage().listing(list(Space), 10, False)
    with pytest.raises(Unavailable):
        await post.count()


async def test_they_are_counted_for_the_metrics_and_a_broker_that_is_away_is_waited_out(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letter_counts, "COUNT_SECONDS", 0.01)
    telemetry = PrometheusTelemetry()
    away = KafkaDeadLetterBox(
        client_config(load(Settings, kafka_brokers="127.0.0.1:1")),
        dict.fromkeys(Space, "nobody"),
        ask_seconds=0.05,
    )
    await post.write(POISON, sound(), sound("ord-2"))
    await post.act(REPLAYED, place(1))
    await post.act(DROPPED, place(2))
    with capture_logs() as logs:
        waiting = asyncio.create_task(keep_counting_dead_letters(away, post.actions, telemetry))
        async with asyncio.timeout(SECONDS_MAX):
            while [each["event"] for each in logs].count("dead_letters_not_counted") < 4:
                await asyncio.sleep(0.01)
        waiting.cancel()
    assert b"dead_letters_open{" not in telemetry.render()
    counting = asyncio.create_task(keep_counting_dead_letters(post.box, post.actions, telemetry))
    async with asyncio.timeout(SECONDS_MAX):
        while b'dead_letters_replayed{space="dispute"}' not in telemetry.render():
            await asyncio.sleep(0.01)
    lines = telemetry.render().decode().splitlines()
    assert 'payment_manager_dead_letters_open{space="order"} 1.0' in lines
    assert 'payment_manager_dead_letters_replayed{space="order"} 1.0' in lines
    assert 'payment_manager_dead_letters_open{space="dispute"} 0.0' in lines
    assert not counting.done()
    counting.cancel()


async def test_many_letters_are_listed_without_being_kept(post: Post) -> None:
    producer = Producer({"bootstrap.servers": post.brokers, "linger.ms": 20})
    for number in range(20_000):
        producer.produce(f"{post.topic}.dlq", value=b"%d" % number + b"x" * 500)
        if number % 1000 == 0:
            producer.poll(0)
    assert producer.flush(SECONDS_MAX) == 0
    listing = await post.triage.listing([Space.ORDER], 5, False)
    assert listing.open == {(Space.ORDER, "unknown"): 20_000}
    assert [shown.letter.id.offset for shown in listing.shown] == [0, 1, 2, 3, 4]
