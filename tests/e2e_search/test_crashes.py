"""kill -9 while webhooks flow: afterwards search is exactly what the logs say."""

import asyncio
import signal
from itertools import cycle

from infra.opensearch_server import OpenSearchServer
from payment_manager.adapters.postgres.leadership import BUILD, PROJECTION
from tests.e2e.chaos import assert_nothing_lost, under_load
from tests.e2e.service import Service, eventually
from tests.e2e_search.conftest import Search
from tests.e2e_search.searched import CATCH_UP_SECONDS, COMMAND_SECONDS_MAX


async def test_kill_9_of_opensearch_and_of_two_projectors_at_once_loses_no_document(
    search: Search,
) -> None:
    """One projector is the API that takes the webhooks."""
    searched = search()
    projector = searched.projector()
    searched.start()
    servers: list[Service | OpenSearchServer] = [searched.api, searched.node, projector]
    turns = cycle(servers)

    def kill_and_restart() -> None:
        server = next(turns)
        server.kill()
        server.start()

    load = await under_load(
        searched.load(per_second=500), kill_and_restart, times=6, between=(50, 300)
    )

    searched.assert_search_is_the_log()
    assert_nothing_lost(searched.api, load)
    searched.stop()


async def test_kill_9_of_a_reindex_leaves_the_old_build_answering_and_the_next_one_whole(
    search: Search,
) -> None:
    searched = search().start()
    searched.caught_up()
    load = searched.load(per_second=300)
    async with load.flowing():
        await load.more(400)
        old = searched.build
        # Who leads for the first time looks for dead builds: for a moment nobody else can build.
        await asyncio.to_thread(eventually, lambda: searched.has_followed, CATCH_UP_SECONDS)
        # Without the lead no build comes to its end, however late it is killed.
        with searched.holding(PROJECTION):
            reindex = searched.begin("reindex")
            await asyncio.to_thread(
                eventually, lambda: searched.builds > {old}, COMMAND_SECONDS_MAX, 0.02
            )
            reindex.send_signal(signal.SIGKILL)
            reindex.communicate()
        await load.more(100)
        # Not at once: a machine that is slow at this moment is answered from PostgreSQL.
        await asyncio.to_thread(
            eventually, lambda: searched.source == "opensearch", CATCH_UP_SECONDS
        )
        assert searched.build == old

        # PostgreSQL may need a moment to notice that who built is dead.
        with searched.holding(BUILD):
            pass
        done = await asyncio.to_thread(searched.command, "reindex")
        assert done.returncode == 0, done.stderr
        await load.more(100)

    [new] = searched.builds
    assert new != old
    searched.assert_search_is_the_log()
    assert_nothing_lost(searched.api, load)
    searched.stop()
