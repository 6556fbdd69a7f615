"""What a question costs PostgreSQL: the plans of the statements that the service really sends.

How to think about it: the read model is asked as the service asks it, and each statement that it
sends is explained besides, as it was sent: prepared, with a plan that is kept, or planned for its
values. A page may take several statements; what it costs is their sum. Each is explained twice and
the second counts, so that no cost is one of a connection's first time.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncClientCursor, sql
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.read_model import Parameters, PostgresReadModel

_EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "


@dataclass(frozen=True, slots=True)
class Explained:
    """`planned`: the tables that the plan names, and so locks; `touched`: those that were read, as
    often as they were; `scanned`: those of them that were read from end to end.
    """

    planned: frozenset[str]
    touched: frozenset[str]
    scanned: frozenset[str]
    buffers: int
    planning_buffers: int
    milliseconds: float
    planning_milliseconds: float
    rows: int

    def days(self, log: str) -> int:
        """How many days of a log it names."""
        return sum(name.startswith(f"{log}_p") for name in self.planned)


class ExplainingReadModel(PostgresReadModel):
    """Answers as its parent does, and notes what each statement costs."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        super().__init__(pool)
        self._noted: list[Explained] = []

    def noted(self) -> Sequence[Explained]:
        """Of the statements since the last time."""
        noted, self._noted = self._noted, []
        return noted

    async def _fetch(self, text: str, values: Parameters) -> list[tuple[Any, ...]]:
        found = await super()._fetch(text, values)
        async with self._pool.connection() as connection:
            names = sorted(values)
            numbered = re.sub(
                r"%\((\w+)\)[sb]", lambda found: f"${names.index(found[1]) + 1}", text
            ).replace("%%", "%")
            await connection.execute(b"PREPARE question AS " + numbered.encode())
            given = sql.SQL(", ").join(sql.Literal(values[name]) for name in names)
            execute = sql.SQL("EXECUTE question ({})" if names else "EXECUTE question").format(
                given
            )
            await self._note(connection, execute.as_string(connection))
            await connection.execute("DEALLOCATE question")
        return found

    async def _fetch_planned(self, text: str, values: Parameters) -> list[tuple[Any, ...]]:
        found = await super()._fetch_planned(text, values)
        async with self._pool.connection() as connection:
            await self._note(connection, AsyncClientCursor(connection).mogrify(text, values))
        return found

    async def _note(self, connection: psycopg.AsyncConnection, text: str) -> None:
        await explained(connection, text)
        self._noted.append(await explained(connection, text))


async def explained(connection: psycopg.AsyncConnection, text: str) -> Explained:
    """What it costs to do it, which is done."""
    row = await (await connection.execute((_EXPLAIN + text).encode())).fetchone()
    assert row is not None
    (found,) = json.loads(row[0]) if isinstance(row[0], str) else row[0]
    root, planning = found["Plan"], found.get("Planning", {})
    nodes = [node for node in _nodes(root) if "Relation Name" in node]
    touched = [node for node in nodes if node["Actual Loops"] > 0]
    return Explained(
        planned=frozenset(node["Relation Name"] for node in nodes),
        touched=frozenset(node["Relation Name"] for node in touched),
        scanned=frozenset(
            node["Relation Name"] for node in touched if node["Node Type"] == "Seq Scan"
        ),
        buffers=_buffers(root),
        planning_buffers=_buffers(planning),
        milliseconds=found["Execution Time"],
        planning_milliseconds=found["Planning Time"],
        rows=round(root["Actual Rows"] * root["Actual Loops"]),
    )


def _buffers(part: dict[str, Any]) -> int:
    return int(part.get("Shared Hit Blocks", 0) + part.get("Shared Read Blocks", 0))


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)
