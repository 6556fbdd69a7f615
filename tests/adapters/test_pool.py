"""Connections on a busy machine: the first is waited for, the others not for long."""

import asyncio

import psycopg
import pytest
from psycopg_pool import PoolTimeout

from payment_manager.adapters.postgres import pool as pools
from payment_manager.adapters.postgres.pool import opened_pool


async def test_the_first_question_finds_a_connection_however_long_that_took(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure = pools._configure

    async def slowly(connection: psycopg.AsyncConnection) -> None:
        await asyncio.sleep(1.5)  # longer than a request waits
        await configure(connection)

    monkeypatch.setattr(pools, "_configure", slowly)
    async with opened_pool(database_url, 2) as pool, pool.connection() as connection:
        cursor = await connection.execute("SELECT 1")
        assert await cursor.fetchone() == (1,)


async def test_without_a_server_the_pool_opens_all_the_same_and_questions_are_told(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "WAIT_SECONDS", 0.1)
    async with opened_pool(database_url.replace("port=", "port=1"), 2) as pool:
        assert not pool.closed
        with pytest.raises(PoolTimeout):
            async with pool.connection():
                pass
