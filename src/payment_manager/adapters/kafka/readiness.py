"""Is the broker there? Asked by the readiness probe."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

_ASK_SECONDS = 1.5
"""Together with a busy machine's delays less than the two seconds that a probe has."""


class KafkaReadiness:
    """`Readiness` of the broker and of these topics."""

    def __init__(self, client: Mapping[str, Any], topics: Sequence[str]) -> None:
        self._admin = AdminClient(dict(client))
        self._topics = topics
        self._asking: asyncio.Task[str] | None = None

    async def checks(self) -> dict[str, str]:
        # A thread is held while the broker is away: however many ask, they share one question.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(asyncio.to_thread(self._ask))
        return {"kafka": await asyncio.shield(self._asking)}

    def _ask(self) -> str:
        self._admin.poll(0)  # its log lines
        try:
            found = self._admin.list_topics(timeout=_ASK_SECONDS).topics
        except KafkaException:
            return "unavailable"
        for name in self._topics:
            if name not in found:
                return f"{name}: there is no such topic"
            headless = sum(each.leader < 0 for each in found[name].partitions.values())
            if headless:
                return f"degraded: {name}: {headless} partitions without a leader"
        return "ok"
