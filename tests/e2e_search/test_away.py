"""OpenSearch away, hanging, read-only, emptied: the service works on, says so, and catches up."""

import asyncio
import shutil
import time
from typing import Any

from tests.e2e.service import eventually
from tests.e2e_search.conftest import Search
from tests.e2e_search.searched import Searched

NOTICED_SECONDS = 60.0
"""A look every five seconds, two for each server that hangs; and a busy machine."""

HANGS_SECONDS = 15.0
"""Whoever waits for a server that hangs waits for longer: a bulk is given up after twenty."""


def put(searched: Searched, path: str, body: Any) -> None:
    with searched.asking_node() as node:
        node.put(f"/{path}", json=body).raise_for_status()


def is_degraded(searched: Searched) -> bool:
    return searched.health.startswith("degraded: ")


def is_well(searched: Searched) -> bool:
    return searched.health == "ok"


async def test_a_start_without_opensearch_is_a_start_and_search_is_built_when_it_comes(
    search: Search,
) -> None:
    searched = search()
    searched.node.stop()
    try:
        searched.start()
        load = searched.load(per_second=300)
        async with load.flowing():
            await load.more(300)
        assert load.wrong == []
        assert "no connection" in eventually(
            lambda: "no connection" in searched.health and searched.health, NOTICED_SECONDS
        )
        assert searched.source == "postgres"
    finally:
        searched.node.start()

    eventually(lambda: is_well(searched), NOTICED_SECONDS)
    searched.assert_search_is_the_log()
    eventually(lambda: searched.source == "opensearch", NOTICED_SECONDS)
    searched.stop()


async def test_while_opensearch_hangs_webhooks_go_on_and_the_lag_is_told(search: Search) -> None:
    searched = search().start()
    searched.caught_up()
    load = searched.load()
    searched.node.pause()
    try:
        async with load.flowing():
            await load.more(1500, timeout=120)
        # Not even the one that came when OpenSearch was asked has waited for it.
        assert load.slowest_seconds < HANGS_SECONDS
        eventually(lambda: is_degraded(searched), NOTICED_SECONDS)
        eventually(lambda: searched.metric("search_lag_events") > 1000, NOTICED_SECONDS)
        assert searched.metric("search_degraded") == 1
        lag = searched.metric("search_lag_seconds")
        eventually(lambda: searched.metric("search_lag_seconds") > lag, NOTICED_SECONDS)
    finally:
        searched.node.resume()

    eventually(lambda: is_well(searched), NOTICED_SECONDS)
    searched.assert_search_is_the_log()
    eventually(lambda: searched.metric("search_lag_events") == 0, NOTICED_SECONDS)


def test_a_stop_does_not_wait_for_opensearch(search: Search) -> None:
    searched = search().start()
    searched.caught_up()
    searched.node.pause()
    try:
        with searched.api.client() as client:
            client.get("/search/disputes")
        began = time.monotonic()
        searched.stop()
        assert time.monotonic() - began < HANGS_SECONDS
    finally:
        searched.node.resume()


async def test_a_read_only_index_is_waited_for(search: Search) -> None:
    searched = search().start()
    searched.caught_up()
    every = f"{searched.names.prefix}-*/_settings"
    put(searched, every, {"index.blocks.read_only_allow_delete": True})
    load = searched.load(per_second=300)
    async with load.flowing():
        await load.more(200)
        # Not only degraded: until the first look after its build it says that it is not built.
        await asyncio.to_thread(eventually, lambda: "read-only" in searched.health, NOTICED_SECONDS)
    eventually(lambda: searched.source == "opensearch", NOTICED_SECONDS)

    put(searched, every, {"index.blocks.read_only_allow_delete": None})

    eventually(lambda: is_well(searched), NOTICED_SECONDS)
    searched.assert_search_is_the_log()
    searched.stop()


async def test_what_is_deleted_is_built_anew(search: Search) -> None:
    """One index of the four, and then all that the node has."""
    searched = search().start()
    load = searched.load(per_second=300)
    async with load.flowing():
        await load.more(500)
        searched.caught_up()
        build = searched.build
        with searched.asking_node() as node:
            node.delete(f"/{searched.names.events_disputes}-{build}").raise_for_status()
        await load.more(100)
    eventually(lambda: build not in searched.builds, NOTICED_SECONDS)
    searched.assert_search_is_the_log()

    build = searched.build
    searched.node.kill()
    shutil.rmtree(searched.node.log.parent / "data")
    searched.node.start()
    searched.assert_search_is_the_log()
    assert searched.build != build
    eventually(lambda: is_well(searched), NOTICED_SECONDS)
    searched.stop()
