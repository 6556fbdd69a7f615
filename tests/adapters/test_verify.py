"""Every kind of damage is found, and what the log can bring back is brought back.

How to think about it: a small world with something of everything is made through the real write
path and is clean; each test breaks one thing by hand, as a bad migration or a person would.
"""

import asyncio
import time
from collections import Counter

import psycopg
import pytest
import pytest_asyncio
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.audit import PostgresAudit
from payment_manager.adapters.postgres.intents import PostgresIntents
from payment_manager.adapters.postgres.pool import connection_pool
from payment_manager.application.apply_webhooks import ApplyWebhooks, Taken
from payment_manager.application.ports import Space
from payment_manager.application.verify import FindingKind, rebuild, verify
from payment_manager.domain.decider import Outcome
from payment_manager.domain.dispute_id import dispute_id_of
from tests.adapters.conftest import Query
from tests.adapters.world import TABLES, World, everything, found
from tests.clock import FakeClock
from tests.conftest import database_on
from tests.webhooks import as_webhook, chargeback_webhook, order_webhook

STATUSES = ("created", "updated", "updated", "success")
# A row that nobody's event tells of, made of one that is there.
COPY_ORDER = """
    INSERT INTO orders SELECT 'made-up', user_id, status, created_at, updated_at, amount_minor,
        currency, NULL, NULL, provenance, sequence, first_event_at, last_event_at
    FROM orders WHERE order_id = 'plain'
"""
COPY_DISPUTE = """
    INSERT INTO disputes (dispute_id, order_id, progress, reason, amount_minor, currency,
        provenance, sequence, first_event_at, last_event_at)
    SELECT 'ffffffff-ffff-4fff-8fff-ffffffffffff', 'plain', progress, reason, amount_minor,
        currency, provenance, sequence, first_event_at, last_event_at FROM disputes
    WHERE order_id = 'disputed'
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def template_database(postgres_server: str, template_database: str) -> str:
    """Every test here begins with the same small world, made once and cloned."""
    name = "template_with_world"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template_database}")
    async with connection_pool(database_on(postgres_server, name), size_max=1) as pool:
        await World(pool, FakeClock()).make()
    return name


@pytest.fixture
def audit(pool: AsyncConnectionPool) -> PostgresAudit:
    return PostgresAudit(pool)


# ── A clean log ───────────────────────────────────────────────────────────────────────────────────


async def test_what_the_write_path_wrote_is_clean_and_counted(
    audit: PostgresAudit, query: Query
) -> None:
    report = await verify(audit)

    assert found(report) == {}
    assert report.is_clean
    counts = [(await query(f"SELECT count(*) FROM {table}"))[0][0] for table in TABLES]
    assert [report.orders, report.disputes] == counts[:2]
    assert report.events == counts[4] + counts[5]
    assert [report.webhook_ids, report.parked] == counts[6:]
    assert report.outcomes.total() + report.parked == report.webhook_ids
    assert report.outcomes[Space.ORDER, Outcome.REJECTED] == 1
    assert report.outcomes[Space.DISPUTE, Outcome.REJECTED] == 1
    assert report.outcomes[Space.ORDER, Outcome.STALE] == 1


async def test_a_decision_that_ends_a_submission_is_two_events_of_one_moment_and_clean(
    audit: PostgresAudit, pool: AsyncConnectionPool, clock: FakeClock, query: Query
) -> None:
    await World(pool, clock).webhooks(chargeback_webhook("disputed", "closed", 30, "won"))
    kinds = await query(
        "SELECT kind FROM dispute_events WHERE dispute_id = %s ORDER BY created_at, event_id",
        dispute_id_of("disputed"),
    )
    assert kinds[-2:] == [("provider_decision",), ("submission_failed",)]
    assert found(await verify(audit)) == {}


async def test_rebuilding_what_is_whole_writes_nothing(audit: PostgresAudit, query: Query) -> None:
    versions = "SELECT xmin::text, ctid::text FROM orders UNION SELECT xmin::text, ctid::text FROM"
    before = await query(f"{versions} disputes")

    assert (await rebuild(audit)).is_clean
    assert await query(f"{versions} disputes") == before


async def test_an_empty_database_is_clean(audit: PostgresAudit, query: Query) -> None:
    await query(f"TRUNCATE {', '.join(TABLES)}")
    assert (await verify(audit)).is_clean
    assert (await rebuild(audit)).is_clean


# ── Damage that the log can undo ──────────────────────────────────────────────────────────────────

REPAIRABLE: dict[str, tuple[FindingKind, str, str]] = {
    "a field of an order": (
        FindingKind.ROW_DIFFERS, "status",
        "UPDATE orders SET status = 'failed' WHERE order_id = 'plain'",
    ),
    "the provider's time of an order": (
        FindingKind.ROW_DIFFERS, "updated_at",
        "UPDATE orders SET updated_at = updated_at + interval '1 us' WHERE order_id = 'plain'",
    ),
    "a hold that nobody cleared": (
        FindingKind.ROW_DIFFERS, "hold_reason",
        "UPDATE orders SET hold_reason = NULL WHERE order_id = 'held'",
    ),
    "where a field came from": (
        FindingKind.ROW_DIFFERS, "latest",
        "UPDATE orders SET provenance = replace(provenance::text, 'evt', 'x')::json"
        " WHERE order_id = 'held'",
    ),
    "provenance that is no longer any": (
        FindingKind.ROW_UNREADABLE, "the row can't be read (ValidationError)",
        "UPDATE orders SET provenance = '{}' WHERE order_id = 'held'",
    ),
    "the bookkeeping of a log": (
        FindingKind.ROW_DIFFERS, "sequence",
        "UPDATE disputes SET sequence = 99 WHERE order_id = 'disputed'",
    ),
    "between which times a log lies": (
        FindingKind.ROW_DIFFERS, "last_event_at",
        "UPDATE orders SET last_event_at = last_event_at + interval '1 day'"
        " WHERE order_id = 'plain'",
    ),
    "a lost order": (
        FindingKind.EVENTS_WITHOUT_ROW, "2 events have no row",
        "DELETE FROM orders WHERE order_id = 'held'",
    ),
    "an order that never was": (
        FindingKind.ROW_WITHOUT_EVENTS, "the row has no events", COPY_ORDER,
    ),
    "a decision": (
        FindingKind.ROW_DIFFERS, "decision",
        "UPDATE disputes SET decision = 'lost' WHERE order_id = 'decided'",
    ),
    "a lost dispute": (
        FindingKind.EVENTS_WITHOUT_ROW, "3 events have no row",
        "DELETE FROM disputes WHERE order_id = 'decided'",
    ),
    "a dispute that never was": (
        FindingKind.ROW_WITHOUT_EVENTS, "the row has no events", COPY_DISPUTE,
    ),
    "a dispute under another id": (
        FindingKind.ROW_DIFFERS, "dispute_id",
        "UPDATE disputes SET dispute_id = 'ffffffff-ffff-4fff-8fff-ffffffffffff'"
        " WHERE order_id = 'decided'",
    ),
    "evidence": (
        FindingKind.ROW_DIFFERS, "evidence",
        "UPDATE evidence SET fields = '{\"note\":\"lost in the post\"}'",
    ),
    "lost evidence": (FindingKind.ROW_DIFFERS, "evidence", "DELETE FROM evidence"),
    "a capture's answer": (
        FindingKind.ROW_DIFFERS, "captures",
        "UPDATE provider_intents SET reference = 'txn-9' WHERE key = 'k-2'",
    ),
    "a capture's amount": (
        FindingKind.ROW_DIFFERS, "captures",
        "UPDATE provider_intents SET amount_minor = 1 WHERE key = 'k-1'",
    ),
    "a capture that would be asked for again": (
        FindingKind.ROW_DIFFERS, "captures",
        "UPDATE provider_intents SET status = 'pending', settled_at = NULL WHERE key = 'k-2'",
    ),
    "a lost open question": (
        FindingKind.ROW_DIFFERS, "captures",
        "DELETE FROM provider_intents WHERE order_id = 'capturing'",
    ),
    "what was submitted": (
        FindingKind.ROW_DIFFERS, "submissions",
        "UPDATE provider_intents SET file_ids = '[\"other\"]' WHERE key = 's-1'",
    ),
    "a submission of no dispute": (
        FindingKind.ROW_WITHOUT_EVENTS, "a submission without a dispute",
        "INSERT INTO provider_intents SELECT space, 'plain', key, amount_minor, currency, file_ids,"
        " fields, status, requested_at, settled_at, reference, error, correlation_id, asked,"
        " next_attempt_at FROM provider_intents WHERE key = 's-1'",
    ),
    "a forgotten webhook": (
        FindingKind.WEBHOOK_ID_MISSING, "evt-", "DELETE FROM webhook_ids WHERE order_id = 'held'",
    ),
    "a forgotten parked webhook": (
        FindingKind.WEBHOOK_ID_MISSING, "evt-", "DELETE FROM webhook_ids WHERE order_id = 'waits'",
    ),
    "an id that stands for nothing": (
        FindingKind.WEBHOOK_ID_UNFOUNDED, "evt-none",
        "INSERT INTO webhook_ids VALUES"
        " ('held', 'evt-none', 'order', decode(repeat('00', 16), 'hex'), NULL, now())",
    ),
    "the hash of a webhook": (
        FindingKind.CONTENT_HASH_DIFFERS, "evt-",
        "UPDATE webhook_ids SET content_hash = decode(repeat('00', 16), 'hex')"
        " WHERE order_id = 'held'",
    ),
    "a rejection that was forgotten": (
        FindingKind.REJECTED_OVER_DIFFERS, "evt-",
        "UPDATE webhook_ids SET rejected_over = NULL WHERE order_id = 'plain'",
    ),
    "a rejection that never was": (
        FindingKind.REJECTED_OVER_DIFFERS, "evt-",
        "UPDATE webhook_ids SET rejected_over = 'success' WHERE order_id = 'held'",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "detail", "damage"), REPAIRABLE.values(), ids=REPAIRABLE)
async def test_damage_is_found_and_undone_from_the_log(
    audit: PostgresAudit,
    query: Query,
    kind: FindingKind,
    detail: str,
    damage: str,
) -> None:
    before = await everything(query)
    await query(damage)

    report = await verify(audit)
    assert list(found(report)) == [kind]
    assert detail in found(report)[kind][0]
    again = await rebuild(audit)
    assert found(again) == found(report)
    assert again.is_whole
    assert (await verify(audit)).is_clean
    assert await everything(query) == before


async def test_all_rows_at_once_come_back_from_the_log_alone(
    audit: PostgresAudit, query: Query, clock: FakeClock, pool: AsyncConnectionPool
) -> None:
    before = await everything(query)
    await query("TRUNCATE orders, disputes, evidence, provider_intents, webhook_ids")

    assert not (await verify(audit)).is_clean
    report = await rebuild(audit)
    assert report.is_whole
    assert found(report).keys() == {
        FindingKind.EVENTS_WITHOUT_ROW, FindingKind.WEBHOOK_ID_MISSING
    }  # fmt: skip
    assert (await verify(audit)).is_clean
    assert await everything(query) == before
    now = clock.advance(hours=1)
    due = await PostgresIntents(pool).claim_due(now, lease_until=now, limit=9)
    assert {attempt.key for attempt in due} == {"k", "s-2"}


async def test_a_redelivery_after_a_rebuild_is_a_duplicate(
    apply: ApplyWebhooks, audit: PostgresAudit, query: Query
) -> None:
    body = order_webhook()
    await apply([as_webhook(body)])
    await query("TRUNCATE orders, disputes, evidence, provider_intents, webhook_ids")
    await rebuild(audit)

    [result] = await apply([as_webhook(body)])
    assert isinstance(result, Taken)
    assert result.outcome is Outcome.DUPLICATE


# ── Damage to the log itself ──────────────────────────────────────────────────────────────────────

IRREPARABLE: dict[str, tuple[FindingKind, str, str]] = {
    "a gap": (
        FindingKind.SEQUENCE_BROKEN, "3 comes after 1",
        "DELETE FROM order_events WHERE order_id = 'plain' AND sequence = 2",
    ),
    "a lost beginning": (
        FindingKind.SEQUENCE_BROKEN, "2 comes after 0",
        "DELETE FROM dispute_events WHERE dispute_id = %(decided)s AND sequence = 1",
    ),
    "a double": (
        FindingKind.SEQUENCE_BROKEN, "1 comes after 1",
        "INSERT INTO order_events (event_id, order_id, sequence, kind, provider_event_id, data,"
        " created_at, correlation_id) SELECT 'ffffffff-ffff-7fff-8fff-ffffffffffff', order_id,"
        " sequence, kind, provider_event_id, data, created_at + interval '1 us', correlation_id"
        " FROM order_events WHERE order_id = 'captured' AND sequence = 1",
    ),
    "an unknown kind": (
        FindingKind.EVENT_UNREADABLE, "event 2: its data can't be read",
        "UPDATE order_events SET kind = 'hold_forgotten' WHERE order_id = 'held' AND sequence = 2",
    ),
    "data of another form": (
        FindingKind.EVENT_UNREADABLE, "event 2: its data can't be read",
        "UPDATE order_events SET data = '{}' WHERE order_id = 'held' AND sequence = 2",
    ),
    "a payload that is no webhook": (
        FindingKind.EVENT_UNREADABLE, "event 1: its data can't be read",
        "UPDATE order_events SET data = '{\"outcome\":\"applied\",\"payload\":[]}'"
        " WHERE order_id = 'held' AND sequence = 1",
    ),
    "a kind that its data belies": (
        FindingKind.EVENT_UNREADABLE, "not what its data says",
        "UPDATE dispute_events SET kind = 'webhook_updated' WHERE dispute_id = %(decided)s"
        " AND sequence = 1",
    ),
    "another webhook's id": (
        FindingKind.EVENT_UNREADABLE, "not what its data says",
        "UPDATE order_events SET provider_event_id = 'evt-x' WHERE order_id = 'held'"
        " AND sequence = 1",
    ),
    "time that goes back": (
        FindingKind.TIME_NOT_INCREASING, "event 2 is earlier than the one before it",
        "UPDATE order_events SET created_at = created_at - interval '1 hour'"
        " WHERE order_id = 'plain' AND sequence = 2",
    ),
    "an event of another order": (
        FindingKind.EVENT_MISPLACED, "event 5 holds a webhook of another order",
        "UPDATE order_events SET order_id = 'plain', sequence = 5"
        " WHERE order_id = 'held' AND sequence = 1",
    ),
    "a webhook with two events": (
        FindingKind.WEBHOOK_TAKEN_TWICE, "event 3 repeats evt-",
        "INSERT INTO order_events (event_id, order_id, sequence, kind, provider_event_id, data,"
        " created_at, correlation_id) SELECT 'ffffffff-ffff-7fff-8fff-ffffffffffff', order_id,"
        " 3, kind, provider_event_id, data, created_at + interval '1 hour', correlation_id"
        " FROM order_events WHERE order_id = 'held' AND sequence = 1",
    ),
    "a parked webhook whose order is there": (
        FindingKind.PARKED_WITH_ORDER, "waits",
        "INSERT INTO parked_webhooks (order_id, provider_event_id, payload, content_hash,"
        " parked_at, correlation_id) SELECT order_id, provider_event_id,"
        " data->'payload', (SELECT content_hash FROM webhook_ids AS w"
        " WHERE w.space = 'dispute' AND w.provider_event_id = e.provider_event_id), created_at, ''"
        " FROM dispute_events AS e, LATERAL (SELECT 'decided' AS order_id) AS o"
        " WHERE dispute_id = %(decided)s AND sequence = 1",
    ),
    "a parked webhook that can't be read": (
        FindingKind.PARKED_UNREADABLE, "can't be read",
        "UPDATE parked_webhooks SET payload = '{}'",
    ),
    "a parked webhook with another's hash": (
        FindingKind.PARKED_UNREADABLE, "the hash of another content",
        "UPDATE parked_webhooks SET content_hash = decode(repeat('00', 16), 'hex')",
    ),
    "a dispute whose order is gone without a trace": (
        FindingKind.DISPUTE_WITHOUT_ORDER, "neither a row nor a log",
        "WITH d AS (DELETE FROM disputes WHERE order_id = 'decided'),"
        " e AS (DELETE FROM order_events WHERE order_id = 'decided')"
        " DELETE FROM orders WHERE order_id = 'decided'",
    ),
    "a dispute that no order leads to": (
        FindingKind.EVENT_MISPLACED, "name no order that has this dispute",
        "UPDATE dispute_events SET dispute_id = 'ffffffff-ffff-4fff-8fff-ffffffffffff'"
        " WHERE dispute_id = %(decided)s AND sequence = 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "detail", "damage"), IRREPARABLE.values(), ids=IRREPARABLE)
async def test_a_damaged_log_is_reported_and_its_row_left_alone(
    audit: PostgresAudit,
    query: Query,
    kind: FindingKind,
    detail: str,
    damage: str,
) -> None:
    decided = f"'{dispute_id_of('decided')}'"
    await query(damage.replace("%(decided)s", decided))
    rows = ("orders", "disputes", "evidence", "provider_intents", "parked_webhooks")
    before = await everything(query)

    report = await verify(audit)
    assert kind in report.found
    assert any(detail in each for each in found(report)[kind])
    again = await rebuild(audit)
    assert kind in again.found
    assert not again.is_whole
    after = await everything(query)
    if kind not in (FindingKind.TIME_NOT_INCREASING, FindingKind.WEBHOOK_TAKEN_TWICE):
        assert {table: after[table] for table in rows} == {table: before[table] for table in rows}


# ── Beside a live service ─────────────────────────────────────────────────────────────────────────


async def test_verify_and_rebuild_find_nothing_while_webhooks_come_in(
    apply: ApplyWebhooks, audit: PostgresAudit
) -> None:
    stopped = asyncio.Event()
    sent: Counter[str] = Counter()

    async def provider(name: str) -> None:
        while not stopped.is_set():
            order_id = f"ord-{name}-{sent[name] % 40}"
            bodies = [chargeback_webhook(order_id, minute=sent[name]), order_webhook(order_id)]
            await apply([as_webhook(body) for body in bodies[sent[name] % 2 :]])
            sent[name] += 1

    async def auditor() -> None:
        try:
            rounds = 0
            while rounds < 10 or sent.total() <= 30:
                assert found(await verify(audit)) == {}
                assert found(await rebuild(audit)) == {}
                rounds += 1
        finally:
            stopped.set()

    await asyncio.gather(provider("a"), provider("b"), provider("c"), auditor())


async def test_a_walk_comes_by_every_order_once_however_many_shares(
    apply: ApplyWebhooks, audit: PostgresAudit, capsys: pytest.CaptureFixture[str]
) -> None:
    for start in range(0, 4000, 1000):
        numbers = range(start, start + 1000)
        bodies = [order_webhook(f"ord-{n}", status) for n in numbers for status in STATUSES]
        bodies += [chargeback_webhook(f"ord-{n}") for n in numbers if n % 10 == 0]
        await apply([as_webhook(body) for body in bodies])
    steps: list[tuple[int, int]] = []

    began = time.perf_counter()
    report = await verify(audit, lambda done, total: steps.append((done, total)))
    seconds = time.perf_counter() - began

    assert report.is_clean
    assert (report.orders, report.disputes, report.events) == (4006, 402, 16_423)
    assert steps == sorted(steps)
    assert steps[-1] == (4006, 4006)
    assert len(steps) > 5
    with capsys.disabled():
        print(f"\n  verify: {report.events / seconds:,.0f} events/s")
