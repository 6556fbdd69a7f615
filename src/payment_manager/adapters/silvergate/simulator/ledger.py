"""What the simulated provider remembers: its answers by key, its effects, and every call.

How to think about it: an answer that is given under a key is given again, for ever, so it is
written before it is sent and survives a restart. An effect is an answer by which money or evidence
moved. Calls are a diary for people and tests: who asked what, and what was answered.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,           -- one answer a key, whatever the route
    route TEXT NOT NULL,
    order_id TEXT NOT NULL,
    parameters TEXT NOT NULL,       -- the same key with others is a mistake of the caller
    answer TEXT NOT NULL,
    effect INTEGER NOT NULL,
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE INDEX IF NOT EXISTS answers_order ON answers (order_id);
CREATE TABLE IF NOT EXISTS calls (
    call INTEGER PRIMARY KEY AUTOINCREMENT,
    route TEXT NOT NULL,
    order_id TEXT,                  -- null where the request didn't say
    key TEXT,
    status INTEGER,                 -- null where the connection was dropped instead
    answer TEXT,
    effect INTEGER NOT NULL,        -- whether this very call moved something
    fault TEXT,
    correlation_id TEXT,
    at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
CREATE INDEX IF NOT EXISTS calls_order ON calls (order_id);
"""

# As many as a person or a test looks at; a load test makes more of them than fit one answer.
LISTED_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Remembered:
    key: str
    route: str
    order_id: str
    parameters: str
    answer: str
    effect: bool


@dataclass(frozen=True, slots=True)
class Call:
    route: str
    order_id: str | None
    key: str | None
    status: int | None
    answer: str | None
    effect: bool
    fault: str | None
    correlation_id: str | None


class Ledger:
    """In the file at `path`, or in memory without one."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path or ":memory:")
        self._database.row_factory = sqlite3.Row
        # With the log ahead, a killed process loses nothing; only a power cut could, and this is
        # no place for real money.
        self._database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        self._database.close()

    def remembered(self, key: str) -> Remembered | None:
        row = self._database.execute(
            "SELECT key, route, order_id, parameters, answer, effect FROM answers WHERE key = ?",
            (key,),
        ).fetchone()
        if row is None:
            return None
        return Remembered(**{**dict(row), "effect": bool(row["effect"])})

    def write(self, call: Call, new: Remembered | None) -> None:
        """The call, and the answer that it made, if any: both or neither."""
        with self._database:
            if new is not None:
                self._database.execute(
                    "INSERT INTO answers (key, route, order_id, parameters, answer, effect)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (new.key, new.route, new.order_id, new.parameters, new.answer, new.effect),
                )
            self._database.execute(
                "INSERT INTO calls"
                " (route, order_id, key, status, answer, effect, fault, correlation_id)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(call.route, call.order_id, call.key, call.status, call.answer),
                    *(call.effect, call.fault, call.correlation_id),
                ),
            )

    def calls(self, order_id: str | None = None) -> list[dict[str, Any]]:
        """The newest, oldest of them first."""
        rows = self._database.execute(
            "SELECT call, route, order_id, key, status, answer, effect, fault, correlation_id, at"
            " FROM calls WHERE :order_id IS NULL OR order_id = :order_id"
            " ORDER BY call DESC LIMIT :limit",
            {"order_id": order_id, "limit": LISTED_MAX},
        ).fetchall()
        return [{**dict(row), "effect": bool(row["effect"])} for row in reversed(rows)]

    def effects(self, order_id: str | None = None) -> list[dict[str, Any]]:
        """The newest, oldest of them first."""
        rows = self._database.execute(
            "SELECT key, route, order_id, parameters, answer, at"
            " FROM answers WHERE effect AND (:order_id IS NULL OR order_id = :order_id)"
            " ORDER BY rowid DESC LIMIT :limit",
            {"order_id": order_id, "limit": LISTED_MAX},
        ).fetchall()
        return [dict(row) for row in reversed(rows)]
