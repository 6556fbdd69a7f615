"""What every client of the broker has in common: how it reconnects, and how it complains.

How to think about it: the client (librdkafka) connects again by itself, for ever; here it is told
to do so quickly, since a webhook waits for a second or two at most. Each attempt that fails is a
line of its own, so lines of one kind are told once a minute, with how many were left out.

    Exception
    └── KafkaSetUpError     the broker is away at the start, or its topics are not as they must be
"""

import math
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import structlog

log = structlog.get_logger()

_SAME_LINE_SECONDS = 60.0
"""A broker that is away for an hour costs sixty lines of each kind, and not seven thousand."""


class KafkaSetUpError(Exception):
    """Told to the person at the terminal as it stands."""


DURABLE: Mapping[str, Any] = MappingProxyType(
    {
        # All in-sync replicas have it, in order, once, whatever the client has to repeat.
        "acks": "all",
        "enable.idempotence": True,
        "max.in.flight.requests.per.connection": 5,
        # The same key goes to the same partition as from a Java client's hand.
        "partitioner": "murmur2_random",
    }
)
"""Of whatever is produced."""


class KafkaSettings(Protocol):
    """What this package reads of the settings."""

    @property
    def kafka_brokers(self) -> str | None: ...


def client_config(settings: KafkaSettings) -> dict[str, Any]:
    """librdkafka's configuration for a client of any kind."""
    return {
        "bootstrap.servers": settings.kafka_brokers,
        "client.id": "payment-manager",
        "logger": ClientLog(),
        "reconnect.backoff.ms": 50,
        # A broker that is back is found within that time.
        "reconnect.backoff.max.ms": 500,
        # A packet that is lost while connecting is sent again after 1, 2, 4, … s: begin anew.
        "socket.connection.setup.timeout.ms": 3000,
        "socket.keepalive.enable": True,
        # One that is gone must be seen, not made anew with the broker's defaults.
        "allow.auto.create.topics": False,
    }


class ClientLog:
    """Takes the client's own lines as a `logging.Logger` would; those of one kind once a minute.

    They are warnings, however loud the client is: it goes on by itself.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def log(self, _level: int, _form: str, kind: str, _client: str, text: str) -> None:
        self.tell(kind, text)

    def tell(self, kind: str, text: str) -> None:
        now = self._clock()
        if now - self._told_at.get(kind, -math.inf) < _SAME_LINE_SECONDS:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return
        self._told_at[kind] = now
        log.warning("kafka_client", kind=kind, text=text, left_out=self._left_out.pop(kind, 0))
