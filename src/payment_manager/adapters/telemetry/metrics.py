"""Counts for those who watch the service, in Prometheus' text format.

How to think about it: I2 is counted here: `webhooks_accepted` equals the sum of `webhooks_total`
over applied, stale, duplicate, rejected and parked. Labels have few values each; no id is ever a
label.
"""

from collections.abc import Callable
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from payment_manager.application.ports import OpenIntents, PartitionHealth, Space

# Refused at the edge, so nothing was accepted.
_NOT_ACCEPTED = ("conflict", "invalid", "unavailable")


class PrometheusTelemetry:
    """`Telemetry`, and what the HTTP edge counts."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        name = "payment_manager"
        self._accepted = Counter(
            f"{name}_webhooks_accepted",
            "Webhooks that were taken durably.",
            ["space"],
            registry=registry,
        )
        self._webhooks = Counter(
            f"{name}_webhooks",
            "Webhooks by what they came to.",
            ["space", "outcome"],
            registry=registry,
        )
        self._batch = Histogram(
            f"{name}_webhook_batch_size",
            "Webhooks that shared a transaction.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 500),
            registry=registry,
        )
        self._waiting = Gauge(
            f"{name}_webhooks_waiting", "Webhooks that wait for a transaction.", registry=registry
        )
        self._requests = Counter(
            f"{name}_http_requests",
            "Requests by route and status.",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            f"{name}_http_request_seconds",
            "Time from a request's first byte to the end of its answer.",
            ["route"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            registry=registry,
        )
        self._provider = Counter(
            f"{name}_provider_answers",
            "What the provider answered: done, refused, unknown.",
            ["space", "answer"],
            registry=registry,
        )
        self._open = Gauge(
            f"{name}_provider_intents_open", "Questions whose answer is unknown.", registry=registry
        )
        self._oldest = Gauge(
            f"{name}_provider_intents_oldest_seconds",
            "Age of the oldest of them.",
            registry=registry,
        )
        self._overdue = Gauge(
            f"{name}_provider_intents_overdue",
            "Open for more than 15 minutes: an alarm.",
            registry=registry,
        )
        self._days_ahead = Gauge(
            f"{name}_partition_days_ahead", "Days made ahead in the event logs.", registry=registry
        )
        self._default_rows = Gauge(
            f"{name}_partition_default_rows",
            "Events outside of every day made: an alarm when not 0.",
            registry=registry,
        )
        # Looking a child up by its labels costs more than counting; there are a few dozen.
        self._webhook_children: dict[tuple[Space, str], list[Counter]] = {}
        self._request_children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def webhook(self, space: Space, outcome: str) -> None:
        children = self._webhook_children.get((space, outcome))
        if children is None:
            children = [self._webhooks.labels(space, outcome)]
            if outcome not in _NOT_ACCEPTED:
                children.append(self._accepted.labels(space))
            self._webhook_children[space, outcome] = children
        for child in children:
            child.inc()

    def webhook_batch(self, size: int) -> None:
        self._batch.observe(size)

    def watch_waiting(self, count: Callable[[], int]) -> None:
        """`count` is asked whenever somebody looks."""
        self._waiting.set_function(count)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        children = self._request_children.get((method, route, status))
        if children is None:
            children = (
                self._requests.labels(method, route, status),
                self._seconds.labels(route),
            )
            self._request_children[method, route, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def provider_answer(self, space: Space, answer: str) -> None:
        self._provider.labels(space, answer).inc()

    def intents(self, found: OpenIntents, now: datetime) -> None:
        oldest = found.oldest_requested_at
        self._open.set(found.count)
        self._oldest.set((now - oldest).total_seconds() if oldest else 0)
        self._overdue.set(found.overdue)

    def partitions(self, health: PartitionHealth) -> None:
        self._days_ahead.set(health.days_ahead)
        self._default_rows.set(health.default_rows)

    def render(self) -> bytes:
        return generate_latest(self._registry)
