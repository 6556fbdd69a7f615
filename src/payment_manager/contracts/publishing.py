"""Handing a message to the broker: what a publisher promises, and what it may answer.

How to think about it: publishing never raises, because whoever publishes has somebody waiting for a
plain answer. Only `ACKNOWLEDGED` is a promise. After the others the same message may be handed over
again; consumers know a message that comes twice by the ids that it carries.
"""

from enum import Enum, auto
from typing import Protocol, TypeAlias

Headers: TypeAlias = list[tuple[str, str | bytes | None]]


class Receipt(Enum):
    """What became of a message."""

    ACKNOWLEDGED = auto()
    """All in-sync replicas have it."""
    QUEUE_FULL = auto()
    """Nothing was done: as many messages as may wait for the broker do so already."""
    AWAY = auto()
    """Nothing was done: the broker is known to be away."""
    UNKNOWN = auto()
    """Not acknowledged in time. It may be in its topic, or still come there."""


class Publisher(Protocol):
    async def publish(self, topic: str, key: bytes, value: bytes, headers: Headers) -> Receipt:
        """Answers in a time that its maker sets, whatever the broker does. Never raises."""
        ...
