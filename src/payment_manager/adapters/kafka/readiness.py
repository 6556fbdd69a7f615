"""Is the broker there? Asked by the readiness probe."""

import asyncio
from collections.abc import Sequence

from confluent_kafka import KafkaException

from payment_manager.adapters.kafka.publisher import KafkaPublisher

_ASK_SECONDS = 1.5
"""For all topics: less than the two seconds that a probe has, on a busy machine too."""


class KafkaReadiness:
    """`Readiness` of a publisher's broker, and of these topics."""

    def __init__(self, publisher: KafkaPublisher, topics: Sequence[str]) -> None:
        self._publisher = publisher
        self._topics = topics
        self._asking: asyncio.Task[str] | None = None

    async def checks(self) -> dict[str, str]:
        # A thread is held while the broker is away: however many ask, they share one question.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(asyncio.to_thread(self._ask))
        return {"kafka": await asyncio.shield(self._asking)}

    def _ask(self) -> str:
        for topic in self._topics:
            try:
                leaders = self._publisher.leaders(topic, _ASK_SECONDS / len(self._topics))
            except KafkaException:
                return "unavailable"
            if -1 in leaders:
                return f"degraded: {topic}: {leaders.count(-1)} partitions without a leader"
        return "ok"
