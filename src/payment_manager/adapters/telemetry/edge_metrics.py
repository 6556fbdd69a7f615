"""What every service's HTTP edge counts, in Prometheus' text format.

How to think about it: I2 begins here. What a service accepted is counted once, by the service that
answered for it: the API in sync mode, Ingest in Kafka mode. Labels have few values each; no id is
ever a label.
"""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

NAMESPACE = "payment_manager"

# Refused at the edge, so nothing was accepted.
_NOT_ACCEPTED = ("conflict", "invalid", "unavailable", "unknown")


class EdgeTelemetry:
    """What is counted at the edge, and the page that is scraped."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self._accepted = counter(
            "webhooks_accepted",
            "Webhooks that were taken durably.",
            ["space"],
        )
        self._webhooks = counter(
            "webhooks",
            "Webhooks by what they came to.",
            ["space", "outcome"],
        )
        self._waiting = gauge("webhooks_waiting", "Webhooks that wait for a transaction.")
        self._requests = counter(
            "http_requests",
            "Requests by route and status.",
            ["method", "route", "status"],
        )
        self._seconds = histogram(
            "http_request_seconds",
            "Time from a request's first byte to the end of its answer.",
            ["route"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
        )
        # Looking a child up by its labels costs more than counting; there are a few dozen.
        self._webhook_children: dict[tuple[str, str], list[Counter]] = {}
        self._request_children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def webhook(self, space: str, outcome: str) -> None:
        children = self._webhook_children.get((space, outcome))
        if children is None:
            children = [self._webhooks.labels(space, outcome)]
            if outcome not in _NOT_ACCEPTED:
                children.append(self._accepted.labels(space))
            self._webhook_children[space, outcome] = children
        for child in children:
            child.inc()

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

    def _counter(self, name: str, tells: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, tells, labels, NAMESPACE, registry=self._registry)

    def _gauge(self, name: str, tells: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, tells, labels, NAMESPACE, registry=self._registry)

    def _histogram(
        self, name: str, tells: str, labels: Sequence[str] = (), *, buckets: Sequence[float]
    ) -> Histogram:
        return Histogram(name, tells, labels, NAMESPACE, registry=self._registry, buckets=buckets)

    def render(self) -> bytes:
        return generate_latest(self._registry)
