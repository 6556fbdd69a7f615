"""The reference month of disputes, made by the server, and the question that is asked of it.

How to think about it: half a million disputes are opened evenly over 31 days; each has 3 to 19
events, ten on average, evenly over the 60 days after. The question is about five days in the
middle: one kind of five, for the disputes of one status of seven and one reason of four. Layouts
differ in where the same rows lie; what that costs is how many pages the answer has to look at.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import psycopg

DISPUTES = 500_000
FIRST_DAY = date(2026, 1, 1)
LAST_DAY = FIRST_DAY + timedelta(days=31 + 60)
ASKED_DAYS = tuple(FIRST_DAY + timedelta(days=day - 1) for day in range(10, 15))

QUESTION = """
SELECT e.*
FROM EVENTS AS e
JOIN disputes AS d USING (dispute_id)
WHERE e.kind = 'evidence_added' AND e.created_at >= '2026-01-10' AND e.created_at < '2026-01-15'
    AND d.status = 'won' AND d.reason = 'fraud'
"""

PAGE = """
SELECT * FROM EVENTS AS e
WHERE e.kind = 'evidence_added' AND e.created_at >= '2026-01-10' AND e.created_at < '2026-01-15'
ORDER BY e.created_at DESC, e.event_id DESC LIMIT 100
"""
"""The newest hundred events of the kind in these days, as the service's lists ask."""

# Drawn by a seeded generator: the same month every time.
_DISPUTES = """
SELECT setseed(0.5);
CREATE UNLOGGED TABLE month_disputes AS
SELECT n, 'lab-' || n AS order_id, md5('d' || n)::uuid AS dispute_id,
    timestamptz 'FIRST_DAY 00:00Z' + interval '31 days' * (n::float8 / MANY) AS opened_at,
    1 + floor(random() * 7)::int AS status, 1 + floor(random() * 4)::int AS reason,
    3 + floor(17 * power(random(), 1.267))::int AS events
FROM generate_series(0, MANY - 1) AS n
"""

# A row weighs what a small real one weighs: the ids that the service makes, an operator's event.
_EVENTS = """
CREATE UNLOGGED TABLE month_events AS
SELECT n, dispute_id, k AS sequence, kind, at AS created_at,
    overlay(overlay(hash placing lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
                    from 1) placing '7' from 13)::uuid AS event_id,
    'cb-' || n || '-' || k AS provider_event_id,
    '{"actor":"operator","reason":null}'::json AS data, md5('c' || n) AS correlation_id
FROM (
    SELECT d.n, d.dispute_id, k, md5(d.n || '/' || k) AS hash,
        (ARRAY['webhook_opened', 'webhook_updated', 'evidence_added', 'submission_requested',
               'evidence_submitted'])[1 + floor(random() * 5)::int] AS kind,
        opened_at + interval '60 days' * ((k - random()) / events) AS at
    FROM month_disputes AS d CROSS JOIN LATERAL generate_series(1, events) AS k
) AS happened
ORDER BY at;
CREATE INDEX ON month_events USING brin (created_at) WITH (pages_per_range = 16);
ANALYZE month_events
"""

_ROWS = """
INSERT INTO orders (order_id, user_id, status, created_at, updated_at, provenance, sequence,
                    first_event_at, last_event_at)
SELECT order_id, dispute_id, 'created', opened_at, opened_at, '[]', 1, opened_at, opened_at
FROM month_disputes ORDER BY n;
INSERT INTO disputes (dispute_id, order_id, decision, progress, reason, amount_minor, currency,
                      opened_at, closed_at, provenance, sequence, first_event_at, last_event_at)
SELECT dispute_id, order_id, (ARRAY['won', 'lost', 'closed', 'canceled'])[status],
    coalesce((ARRAY['open', 'under_review', 'submitted'])[status - 4], 'open'),
    (ARRAY['fraud', 'product_not_received', 'duplicate', 'credit_not_processed'])[reason],
    100, 'USD', opened_at, CASE WHEN status <= 4 THEN opened_at + interval '60 days' END,
    format('[[0,"%s",0,"cb-%s-1"],[0,"%s",0,"cb-%s-1"],null]', opened_at, n, opened_at, n)::json,
    events, opened_at, opened_at + interval '60 days'
FROM month_disputes ORDER BY n
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer cost. `buffers`: pages of 8 KiB that were looked at; `planning_buffers`: of
    the catalogue, before that. `partitions`: how many tables of events were read.
    """

    rows: int
    buffers: int
    planning_buffers: int
    partitions: int
    milliseconds: float
    indexes: frozenset[str]


async def make_month(connection: psycopg.AsyncConnection[Any], scale: float) -> int:
    """Disputes into the service's tables, events into `month_events`, as recorded; how many."""
    many = max(1, round(DISPUTES * scale))
    text = _DISPUTES.replace("MANY", str(many)).replace("FIRST_DAY", FIRST_DAY.isoformat())
    await connection.execute("SET work_mem = '256MB'")
    await connection.execute("SET maintenance_work_mem = '256MB'")
    for statement in (*text.split(";"), *_EVENTS.split(";"), *_ROWS.split(";")):
        await connection.execute(statement)
    for table in ("orders", "disputes"):
        await connection.execute(f"VACUUM ANALYZE {table}")
    cursor = await connection.execute("SELECT count(*) FROM month_events")
    [(events,)] = await cursor.fetchall()
    return int(events)


async def ask(connection: psycopg.AsyncConnection[Any], question: str, events: str) -> Answer:
    """What `question` costs where `events` is the table of the events."""
    explain = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON)"
    cursor = await connection.execute(f"{explain} {question.replace('EVENTS', events)}".encode())
    [([told],)] = await cursor.fetchall()
    top, planning = told["Plan"], told.get("Planning", {})
    read = [node for node in _nodes(top) if node["Actual Loops"]]
    tables = {node["Relation Name"] for node in read if "Relation Name" in node}
    return Answer(
        round(top["Actual Rows"]),
        _buffers(top),
        _buffers(planning),
        len(tables - {"disputes"}),
        told["Planning Time"] + told["Execution Time"],
        frozenset(node["Index Name"] for node in read if "Index Name" in node),
    )


def _nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(each for part in node.get("Plans", []) for each in _nodes(part))]


def _buffers(node: dict[str, Any]) -> int:
    return int(node.get("Shared Hit Blocks", 0) + node.get("Shared Read Blocks", 0))
