"""The labs run, and show what they say: trouble without the pattern, none with it.

How to think about it: a lab is run as it stands, but smaller and on the tests' own servers, and its
table is looked at instead of printed. Which figure is trouble stands in the lab's page; here it is
held. Those that kill servers and processes bring their own, and take their time.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import structlog
from psycopg_pool import AsyncConnectionPool

from infra import opensearch_server
from infra.kafka_server import KafkaServer, why_not
from labs import (
    batching,
    broker_away,
    duplicates,
    index_choice,
    paging,
    parking,
    partitioning,
    poison_message,
    rebalance,
    reorder,
    retention,
    search_away,
    search_rebuild,
)
from labs.month_chart import draw

pytestmark = pytest.mark.timeout(600)
"""The longest take two minutes; they start servers and many processes, and the machine may be busy.
"""

Tables = list[list[Sequence[Any]]]

needs_kafka = pytest.mark.skipif(why_not() is not None, reason=f"no Kafka here: {why_not()}")
needs_opensearch = pytest.mark.skipif(
    opensearch_server.why_not() is not None,
    reason=f"no OpenSearch here: {opensearch_server.why_not()}",
)


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """A lab turns them off for its process."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture
def on_our_database(monkeypatch: pytest.MonkeyPatch, pool: AsyncConnectionPool) -> None:
    @asynccontextmanager
    async def database() -> AsyncIterator[AsyncConnectionPool]:
        yield pool

    for lab in (
        batching,
        duplicates,
        index_choice,
        paging,
        parking,
        poison_message,
        reorder,
        retention,
    ):
        monkeypatch.setattr(lab, "database", database)


@pytest.fixture
def on_our_broker(monkeypatch: pytest.MonkeyPatch, kafka_server: KafkaServer) -> None:
    for lab in (poison_message, reorder):
        monkeypatch.setattr(lab, "broker", lambda: nullcontext(kafka_server))


async def _run(monkeypatch: pytest.MonkeyPatch, lab: ModuleType, **constants: float) -> Tables:
    """The rows of its tables, with other constants than its own."""
    for name, value in constants.items():
        monkeypatch.setattr(lab, name, value)
    tables: Tables = []
    monkeypatch.setattr(lab, "show", lambda title, columns, rows: tables.append(list(rows)))
    running = lab.run()
    if running is not None:
        await running
    return tables


@pytest.mark.usefixtures("on_our_database", "on_our_broker")
async def test_a_poison_message_stalls_or_is_lost_but_with_us_it_is_put_aside_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [table, reasons] = await _run(
        monkeypatch, poison_message, ORDERS=20, WEBHOOKS=4, USERS=10, BATCH_MAX=10
    )
    retry, skip, drop, aside, refused, ours = (row[1:] for row in table)
    applied, lost, stuck, dead, holes = range(5)
    poison = len(poison_message.POISON)
    assert retry[stuck] >= poison
    assert retry[lost] == 0
    assert skip[lost] == drop[lost] == poison
    assert aside[dead] > poison
    assert refused[lost] == refused[dead] == 0
    assert refused[stuck] >= 1
    assert list(ours) == [80, 0, 0, poison, 0]
    assert ours[applied] + ours[dead] == 80 + poison
    assert refused[holes] == 0
    assert sum(count for _, count in reasons) == poison


@pytest.mark.usefixtures("on_our_database", "on_our_broker")
async def test_a_shuffled_history_that_comes_twice_ends_in_the_same_rows_with_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [twice, keys] = await _run(monkeypatch, reorder, ORDERS=30, WEBHOOKS=4, USERS=6)
    by_offset, by_id_and_time, by_id, ours = (row[1:] for row in twice)
    wrong, effects, doubled = range(3)
    assert by_offset[doubled] == by_id_and_time[doubled] == 120
    assert by_id[doubled] == 0
    assert min(by_offset[wrong], by_id_and_time[wrong], by_id[wrong]) > 0
    assert list(ours) == [0, 120, 0]
    assert ours[effects] == by_id[effects]

    none, order_id, user_id = (row[1:] for row in keys)
    orders, users, wrong_last, wrong_ours, stale = range(5)
    assert none[orders] > 0
    assert none[wrong_last] > 0
    assert none[wrong_ours] == 0
    assert order_id[orders] == order_id[wrong_last] == order_id[stale] == 0
    assert order_id[users] > 0
    assert list(user_id) == [0, 0, 0, 0, 0]


@pytest.mark.chaos
@needs_kafka
async def test_while_the_broker_is_away_we_refuse_in_time_and_lose_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [table] = await _run(
        monkeypatch, broker_away, WELL_SECONDS=1.0, AWAY_SECONDS=4.0, CRASH_AFTER_SECONDS=3.0
    )
    first, _, ours = (row[1:] for row in table)
    taken, refused, _, lost, _, longest_seconds, _ = range(7)
    assert first[lost] > 0
    assert ours[lost] == 0
    assert ours[taken] > 0
    assert ours[refused] > 0
    assert float(ours[longest_seconds]) < 2.0


@pytest.mark.chaos
@needs_kafka
async def test_members_join_leave_and_die_and_with_us_nothing_is_lost_or_doubled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [table] = await _run(monkeypatch, rebalance)
    timer, short_timer, before, ours = (row[1:] for row in table)
    _, lost, doubled, *_ = range(6)
    assert timer[lost] + timer[doubled] > 0
    assert short_timer[lost] + short_timer[doubled] > 0
    assert before[lost] > 0
    assert ours[lost] == ours[doubled] == 0


@pytest.mark.usefixtures("on_our_database")
async def test_webhooks_in_flight_share_a_commit_with_us(monkeypatch: pytest.MonkeyPatch) -> None:
    [table] = await _run(monkeypatch, batching, SENDERS=8, SECONDS=0.2, WARM_SECONDS=0.1)
    assert float(table[-1][-1]) > 1


@pytest.mark.usefixtures("on_our_database")
async def test_copies_have_one_effect_with_us(monkeypatch: pytest.MonkeyPatch) -> None:
    [table] = await _run(monkeypatch, duplicates, WEBHOOKS=2, COPIES=5)
    assert list(table[-1][1:]) == [2, 0, 0, 2, 0, 0]


@pytest.mark.usefixtures("on_our_database")
async def test_no_chargeback_stays_parked_with_us(monkeypatch: pytest.MonkeyPatch) -> None:
    [table] = await _run(monkeypatch, parking, PAIRS=5)
    assert list(table[-1][1:3]) == [0, 5]


@pytest.mark.usefixtures("on_our_database")
async def test_a_walk_by_cursor_shows_no_row_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "PAGES", (1, 2))
    [_, walks] = await _run(monkeypatch, paging, ORDERS=2000, WALK_PAGES=2)
    assert walks[-1][-1] == 0


@pytest.mark.integration  # on a server of the lab's own
async def test_the_same_rows_cost_fewer_pages_the_better_they_lie(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tables: Tables = []
    monkeypatch.setattr(partitioning, "show", lambda title, columns, rows: tables.append(rows))
    charts = [tmp_path / "one.svg", tmp_path / "two.svg"]
    await partitioning.run(scale=0.02, chart=charts[0])

    [layouts, pages] = tables
    buffers = {name: int(str(figure).replace(",", "")) for name, figure, *_ in layouts}
    flat, scattered, recorded, daily, sealed = buffers.values()
    assert flat > scattered > recorded > sealed
    assert daily > sealed
    page = {name: int(str(figure).replace(",", "")) for name, figure in pages}
    assert page[partitioning.SEALED] <= page[partitioning.DAILY] < page[partitioning.FLAT]
    draw(charts[1], buffers, partitioning.REFERENCE)
    assert charts[0].read_bytes() == charts[1].read_bytes()


@pytest.mark.usefixtures("on_our_database")
async def test_ranges_beside_the_index_serve_a_question_and_a_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [table] = await _run(monkeypatch, index_choice, SCALE=0.04)
    question, page = ({row[0]: int(row[at].replace(",", "")) for row in table} for at in (1, 2))
    names = [row[0] for row in table]
    recorded, alone, ours = names[1], names[-2], names[-1]
    assert question[ours] == question[alone] < question[recorded] / 2
    assert page[ours] == page[names[3]] < page[alone] / 5


@pytest.mark.usefixtures("on_our_database")
async def test_a_day_leaves_at_once_and_answers_as_before_from_a_tenth_of_its_size(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [costs, sizes] = await _run(monkeypatch, retention, DAYS=6, DAY_EVENTS=2_000, OLD_DAYS=4)
    delete, vacuum, detach, archive = (row[1:] for row in costs)
    _, _, before, after, buffers = range(5)
    assert delete[before] == delete[after] == vacuum[after], "the space is not given back"
    assert float(detach[after]) < float(detach[before])
    assert float(archive[after]) < float(archive[before])
    assert int(delete[buffers].replace(",", "")) > 3 * int(detach[buffers])
    in_log, in_archive = (row[1:] for row in sizes)
    assert in_archive[1] < in_log[1] / 4
    assert in_archive[2] == in_log[2] == 400
    assert "the same answer: yes" in capsys.readouterr().out


@pytest.mark.chaos
@needs_opensearch
async def test_search_that_dies_costs_our_webhooks_nothing_and_gets_all_it_has_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [ways, watched] = await _run(
        monkeypatch, search_away, RATE=5, WELL_SECONDS=2.0, HANG_SECONDS=3.0, DEAD_SECONDS=3.0
    )
    theirs, ours = (row[1:] for row in ways)
    taken, _, _, _, _, _, missing = range(7)
    assert theirs[missing] > 0
    assert ours[missing] == 0
    assert ours[taken] > 0
    assert {row[1] for row in watched} <= {"200", ""}
    assert "nothing differs" in capsys.readouterr().out


@pytest.mark.chaos
@needs_opensearch
async def test_search_is_built_from_nothing_while_postgres_answers_and_damage_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [answers, built, proofs] = await _run(
        monkeypatch,
        search_rebuild,
        ORDERS=200,
        DISPUTES=100,
        ANSWERS=5,
        REFILLED_PER_SECOND=50,
    )
    in_place, there, deleted, being_built, again = (row[1:] for row in answers)
    assert there[0] == again[0] == "5 by opensearch"
    assert deleted[0] == "5 by postgres"
    *_, failed, lacked_some = range(5)
    assert in_place[lacked_some] > 0
    for ours in (there, deleted, being_built, again):
        assert ours[failed] == ours[lacked_some] == 0
    assert len(built) == 1
    assert [row[1:3] for row in proofs] == [(0, 0), (1, 2), (0, 0)]
