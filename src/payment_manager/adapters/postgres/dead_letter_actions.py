"""What operators did about dead letters: the audit trail, which also says what is still open.

How to think about it: the letters themselves are in Kafka and never change; a row here is what
closes one. Whoever acts holds one lock from looking until the rows are durable, so of two operators
at once the second sees what the first did. Kafka is no part of the transaction: a message that was
replayed and whose row got lost is replayed again, and known ids make that harmless.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from payment_manager.adapters.postgres.errors import translated
from payment_manager.adapters.postgres.rows import Row, as_json
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import Handled, Handling, Letter, LetterId

_CONNECTION_SECONDS = 5.0
"""Whoever waits here is a person or a loop in the background, and no webhook."""


class PostgresDeadLetterActions:
    """`DeadLetterActions` on a pool of connections."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def writing(self) -> AsyncIterator["PostgresDeadLetterBook"]:
        with translated():
            async with (
                self._pool.connection(timeout=_CONNECTION_SECONDS) as connection,
                connection.transaction(),
            ):
                await connection.execute(SQL["lock_dead_letters"])
                yield PostgresDeadLetterBook(connection)

    async def past(self, letters: Sequence[Letter]) -> Mapping[LetterId, Sequence[Handled]]:
        with translated():
            async with self._pool.connection(timeout=_CONNECTION_SECONDS) as connection:
                return await PostgresDeadLetterBook(connection).past(letters)

    async def handled(
        self, topic_id: str, partitions: Sequence[tuple[int, int, int]]
    ) -> tuple[int, int]:
        values = {
            "topic_id": topic_id,
            "partitions": [partition for partition, _, _ in partitions],
            "firsts": [first for _, first, _ in partitions],
            "ends": [end for _, _, end in partitions],
        }
        with translated():
            async with self._pool.connection(timeout=_CONNECTION_SECONDS) as connection:
                cursor = await connection.execute(SQL["dead_letters_handled"], values)
                row = await cursor.fetchone()
        assert row is not None  # an aggregate always has one row
        handled, replayed = row
        return handled, replayed


class PostgresDeadLetterBook:
    """`DeadLetterBook` on a connection, in its transaction if there is one."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def past(self, letters: Sequence[Letter]) -> Mapping[LetterId, Sequence[Handled]]:
        values = {
            "topic_ids": [letter.topic_id for letter in letters],
            "partitions": [letter.id.partition for letter in letters],
            "offsets": [letter.id.offset for letter in letters],
        }
        ids = {(letter.topic_id, *letter.id[1:]): letter.id for letter in letters}
        cursor = await self._connection.execute(SQL["dead_letters_past"], values)
        past: dict[LetterId, list[Handled]] = {}
        for topic_id, partition, offset, *done in await cursor.fetchall():
            action, actor, reason, at, replayed_partition, replayed_offset, is_copy = done
            replayed_to = None
            if replayed_offset is not None:
                replayed_to = (replayed_partition, replayed_offset)
            past.setdefault(ids[topic_id, partition, offset], []).append(
                Handled(Handling(action), actor, reason, at, replayed_to, is_copy)
            )
        return past

    async def record(self, handled: Sequence[tuple[Letter, Handled]]) -> None:
        rows = as_json([_row(letter, done) for letter, done in handled])
        await self._connection.execute(SQL["save_dead_letter_actions"], {"rows": rows})


def _row(letter: Letter, done: Handled) -> Row:
    partition, offset = done.replayed_to or (None, None)
    return {
        "topic_id": letter.topic_id,
        "topic_partition": letter.id.partition,
        "letter_offset": letter.id.offset,
        "action": done.handling.value,
        "space": letter.id.space.value,
        "actor": done.actor,
        "reason": done.reason,
        "acted_at": done.at,
        "error_class": letter.error_class,
        "error_message": letter.error_message,
        "attempts": letter.attempts,
        "source_topic": letter.source_topic,
        "source_partition": letter.source_partition,
        "source_offset": letter.source_offset,
        "correlation_id": letter.correlation_id,
        "replayed_partition": partition,
        "replayed_offset": offset,
        "is_copy": done.is_copy,
    }
