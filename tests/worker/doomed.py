"""A member in a process of its own, to be killed: it applies a batch and never commits its offsets.

Arguments: brokers, prefix of the names, the database's URL. It writes a line when it has applied.
"""

import asyncio
import sys
from collections.abc import Sequence

from payment_manager.adapters.kafka import consumer
from payment_manager.adapters.postgres.pool import opened_pool
from payment_manager.application.ports import Message
from tests.worker.flow import Around, Flow

SESSION_SECONDS = 1.0
"""The broker notices the death that soon."""


class NeverCommits(Around):
    async def commit(self, messages: Sequence[Message]) -> None:
        print("applied", len(messages), flush=True)
        await asyncio.Event().wait()


async def main(brokers: str, prefix: str, url: str) -> None:
    consumer.SESSION_SECONDS = SESSION_SECONDS
    async with (
        opened_pool(url, 2) as pool,
        Flow(brokers, prefix, pool).consuming(around=NeverCommits) as consume,
    ):
        await consume.run_until_ended()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
