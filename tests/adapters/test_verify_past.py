"""What left the logs is proved too, and brings rows back; what is gone is said to be gone.

How to think about it: a small world of last month is retired, whole or in part, and then gone
through as if it were there. Only what is nowhere any more may make a difference, and never a wrong
one: nothing is called damaged, nothing is written, that can't be known.
"""

import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.parquet import walk
from payment_manager.adapters.postgres.audit import PostgresAudit
from payment_manager.application.verify import FindingKind, rebuild, verify
from tests.adapters.conftest import Query
from tests.adapters.past import BEGINNING, OLD, PAST, Past, table, template_database
from tests.adapters.world import everything, found
from tests.clock import TODAY_AT_NOON

__all__ = ["template_database"]  # a fixture

ROWS = ("orders", "disputes", "evidence", "provider_intents", "webhook_ids", "parked_webhooks")


@pytest.fixture
def past(pool: AsyncConnectionPool, tmp_path: Path) -> Past:
    return Past(pool, tmp_path / "archive")


@pytest.fixture
def audit(past: Past) -> PostgresAudit:
    return PostgresAudit(past.pool, past.archive)


async def rows(query: Query) -> object:
    all_of = await everything(query)
    return {table: all_of[table] for table in ROWS}


HALF = BEGINNING + timedelta(days=3) + OLD
"""When about half of it is past its retention."""


@pytest.mark.parametrize("archived", [True, False], ids=["archived", "kept"])
@pytest.mark.parametrize("now", [HALF, TODAY_AT_NOON], ids=["half", "all"])
async def test_what_left_the_log_is_proved_as_if_it_were_there(
    past: Past, audit: PostgresAudit, archived: bool, now: datetime
) -> None:
    before = await verify(audit)
    assert before.is_clean

    assert await past.retire(past.archive if archived else None, now=now)

    after = await verify(audit)
    assert found(after) == {}
    assert (after.orders, after.disputes, after.events, after.outcomes, after.webhook_ids) == (
        before.orders, before.disputes, before.events, before.outcomes, before.webhook_ids,
    )  # fmt: skip
    assert after.unprovable == 0
    assert after.gone == {}


@pytest.mark.parametrize("archived", [True, False], ids=["archived", "kept"])
async def test_all_rows_come_back_from_what_left_the_log(
    past: Past, audit: PostgresAudit, query: Query, archived: bool
) -> None:
    before = await rows(query)
    await past.retire(past.archive if archived else None, now=HALF)
    await query("TRUNCATE orders, disputes, evidence, provider_intents, webhook_ids")

    report = await rebuild(audit)

    assert report.is_whole
    assert report.unprovable == 0
    assert await rows(query) == before
    assert (await verify(audit)).is_clean


async def test_damage_of_one_row_is_found_and_undone_from_the_archive(
    past: Past, audit: PostgresAudit, query: Query
) -> None:
    before = await rows(query)
    await past.retire(past.archive)
    await query("UPDATE orders SET status = 'failed' WHERE order_id = 'plain'")
    await query("UPDATE disputes SET decision = 'lost' WHERE order_id = 'decided'")
    await query("DELETE FROM webhook_ids WHERE order_id = 'held'")

    report = await verify(audit)
    assert list(report.found) == [
        FindingKind.ROW_DIFFERS,
        FindingKind.WEBHOOK_ID_MISSING,
    ]
    assert report.found[FindingKind.ROW_DIFFERS] == 2
    assert (await rebuild(audit)).is_whole
    assert await rows(query) == before


async def test_a_walk_through_windows_and_groups_of_any_size_comes_by_every_event_once(
    past: Past, audit: PostgresAudit, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = await verify(audit)
    monkeypatch.setattr("payment_manager.adapters.parquet.archive.GROUP_ROWS", 2)
    await past.retire(past.archive)
    for window in (1, 500, 2000):
        monkeypatch.setattr(walk, "WINDOW_BYTES", window)
        for events in (1, 4):
            monkeypatch.setattr("payment_manager.adapters.postgres.audit._EVENTS_MAX", events)
            after = await verify(PostgresAudit(past.pool, past.archive))
            assert found(after) == {}
            assert (after.orders, after.disputes) == (before.orders, before.disputes)
            assert after.events == before.events


# ── What is gone ──────────────────────────────────────────────────────────────────────────────────


async def _dropped_by_hand(past: Past, query: Query) -> PostgresAudit:
    await past.retire(None, now=HALF)
    for day in PAST:
        await query(f"DROP TABLE IF EXISTS {table(day)}") if day.day < HALF.date() - OLD else None
    return PostgresAudit(past.pool, past.archive)


async def _no_archive_set(past: Past, query: Query) -> PostgresAudit:
    await past.retire(past.archive, now=HALF)
    return PostgresAudit(past.pool)


async def _files_missing(past: Past, query: Query) -> PostgresAudit:
    await past.retire(past.archive, now=HALF)
    shutil.rmtree(past.folder)
    return PostgresAudit(past.pool, past.archive)


async def _files_damaged(past: Past, query: Query) -> PostgresAudit:
    await past.retire(past.archive, now=HALF)
    for file in past.folder.rglob("*.parquet"):
        content = bytearray(file.read_bytes())
        content[4:40] = b"\\xff" * 36  # the first page
        file.write_bytes(content)
    return PostgresAudit(past.pool, past.archive)


async def _files_of_another_database(past: Past, query: Query) -> PostgresAudit:
    await past.retire(past.archive, now=HALF)
    await query("UPDATE event_days SET archive_digest = sha256('another') WHERE archived_rows > 0")
    return PostgresAudit(past.pool, past.archive)


async def _a_path_that_leads_out(past: Past, query: Query) -> PostgresAudit:
    await past.retire(past.archive, now=HALF)
    await query(
        "UPDATE event_days SET archive_file = '../../etc/passwd' WHERE archive_file IS NOT NULL"
    )
    return PostgresAudit(past.pool, past.archive)


Loss = Callable[[Past, Query], object]


@pytest.mark.parametrize(
    "loss",
    [
        _dropped_by_hand, _no_archive_set, _files_missing, _files_damaged,
        _files_of_another_database, _a_path_that_leads_out,
    ],
)  # fmt: skip
async def test_what_is_gone_makes_orders_unprovable_and_nothing_else(
    past: Past, query: Query, loss: Loss
) -> None:
    audit: PostgresAudit = await loss(past, query)  # type: ignore[misc]
    before = await rows(query)

    report = await verify(audit)

    assert found(report) == {}
    assert report.is_clean
    [(begun,)] = await query(
        "SELECT (SELECT count(*) FROM orders WHERE first_event_at < %(at)s)"
        " + (SELECT count(*) FROM disputes WHERE first_event_at < %(at)s)".replace(
            "%(at)s", f"'{(HALF - OLD).date()} 00:00:00+00'"
        )
    )
    assert report.unprovable == begun > 0
    assert report.gone
    assert (await rebuild(audit)).is_whole
    assert await rows(query) == before


async def test_a_row_whose_history_is_gone_is_never_written_and_others_are(
    past: Past, query: Query
) -> None:
    audit = await _files_missing(past, query)
    await query("UPDATE orders SET status = 'failed' WHERE order_id = 'plain'")  # gone in part
    await query("UPDATE orders SET status = 'failed' WHERE order_id = 'decided'")  # all there
    await query("DELETE FROM orders WHERE order_id = 'held'")  # gone: its row can't come back

    report = await rebuild(audit)

    assert found(report) == {FindingKind.ROW_DIFFERS: ["status"]}
    assert await query(
        "SELECT order_id, status FROM orders WHERE order_id IN ('plain', 'decided', 'held')"
        " ORDER BY 1"
    ) == [("decided", "created"), ("plain", "failed")]


async def test_damage_of_the_log_is_still_found_where_nothing_is_gone_that_explains_it(
    past: Past, query: Query
) -> None:
    """A missing event of a day that is there is no matter of retention."""
    audit = await _files_missing(past, query)
    await query("DELETE FROM dispute_events WHERE sequence = 2")

    report = await verify(audit)

    assert set(report.found) == {FindingKind.SEQUENCE_BROKEN}


async def test_a_share_of_archived_events_of_lost_rows_is_bounded_too(
    past: Past, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any row, only the archive says where a share ends."""
    monkeypatch.setattr("payment_manager.adapters.postgres.audit._EVENTS_MAX", 3)
    await past.retire(past.archive)
    await query("TRUNCATE orders, disputes, evidence, provider_intents, webhook_ids")
    sizes: list[int] = []
    audit = PostgresAudit(past.pool, past.archive)

    async with audit.reading() as each:
        after, is_last = "", False
        while not is_last:
            share = await each.share(after, ())
            after, is_last = share.upto, share.is_last
            sizes.append(sum(map(len, share.order_events.values())))

    assert len(sizes) > 3
    assert max(sizes) < 9
