"""Counts for those who watch the service: what webhooks came to, provider, partitions, consumers.

How to think about it: I2 ends here. The sum of `webhooks_accepted` over all services equals the sum
of `webhooks_total` over applied, stale, duplicate, rejected, parked and dead_lettered, and what is
pending: in flight in sync mode, `webhooks_pending` in Kafka mode. A dead letter that is replayed
comes to something once more: `dead_letters_replayed` says how many did.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from payment_manager.adapters.telemetry.edge_metrics import EdgeTelemetry
from payment_manager.application.dead_letters import LetterCount
from payment_manager.application.ports import LogExtent, OpenIntents, PartitionHealth, Space


class PrometheusTelemetry(EdgeTelemetry):
    """`Telemetry`, `UpkeepTelemetry`, `SearchTelemetry`, and what consumers count."""

    def __init__(self) -> None:
        super().__init__()
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        self._batch = histogram(
            "webhook_batch_size",
            "Webhooks that shared a transaction.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 500),
        )
        self._provider = counter(
            "provider_answers",
            "What the provider answered: done, refused, unknown.",
            ["space", "answer"],
        )
        self._open = gauge("provider_intents_open", "Questions whose answer is unknown.")
        self._oldest = gauge(
            "provider_intents_oldest_seconds",
            "Age of the oldest of them.",
        )
        self._overdue = gauge(
            "provider_intents_overdue",
            "Open for more than 15 minutes: an alarm.",
        )
        self._age = histogram(
            "webhook_age_seconds",
            "Kafka mode: from received by Ingest to applied.",
            ["space"],
            buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600),
        )
        # Looking a child up by its label costs twice what observing does.
        self._ages = {space: self._age.labels(space) for space in Space}
        self._pending = gauge(
            "webhooks_pending",
            "Kafka mode: messages of this process's partitions that are not done with.",
            ["space"],
        )
        self._stopped = gauge(
            "consumer_stopped",
            "Kafka mode: 1 where too many messages in a row had to be dead-lettered: an alarm.",
            ["space"],
        )
        self._refused = gauge(
            "dead_letters_refused",
            "Kafka mode: 1 while dead letters can't be written, so that nothing moves: an alarm.",
            ["space"],
        )
        self._open_letters = gauge(
            "dead_letters_open",
            "Kafka mode: dead letters that were neither replayed nor dropped, of all processes.",
            ["space"],
        )
        self._replayed = gauge(
            "dead_letters_replayed",
            "Kafka mode: messages that were given back and count again, of all processes.",
            ["space"],
        )
        self._days_ahead = gauge("partition_days_ahead", "Days made ahead in the event logs.")
        self._default_rows = gauge(
            "partition_default_rows",
            "Events outside of every day made: an alarm when not 0.",
        )
        self._days = gauge("partition_days", "Days that a log has.", ["space"])
        self._unsealed_days = gauge(
            "partition_unsealed_days",
            "Days that are over and not sealed: an alarm when it stays above 0.",
            ["space"],
        )
        self._last_seal = gauge(
            "partition_last_seal_timestamp_seconds",
            "When a day of the log was sealed last, by whichever process.",
            ["space"],
        )
        self._log_bytes = gauge(
            "event_log_bytes", "Size of a log with its indexes, of the days that it has.", ["space"]
        )
        self._rounds = counter(
            "maintenance_rounds",
            "Rounds of maintenance: done, another_leads, failed (an alarm).",
            ["result"],
        )
        self._round_seconds = histogram(
            "maintenance_seconds",
            "How long a round took.",
            buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400),
        )
        self._overdue_days = gauge(
            "retention_overdue_days",
            "Days past their retention that are still in the logs: an alarm when it stays above 0.",
        )
        self._projected = counter(
            "search_projected_events", "Events that this process brought into search."
        )
        self._documents = counter(
            "search_projected_documents",
            "Documents that it wrote for them: events, orders, disputes.",
        )
        self._stretch_seconds = histogram(
            "search_projection_seconds",
            "How long a stretch of the logs took to read and write.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
        )
        self._lag_events = gauge(
            "search_lag_events", "Events that are not in search yet, whoever projects."
        )
        self._lag_seconds = gauge(
            "search_lag_seconds", "Age of the oldest of them: an alarm when it grows."
        )
        self._degraded = gauge(
            "search_degraded",
            "1 while search is away, behind, or not built: an alarm when it stays.",
        )
        self._search_rejects = gauge(
            "search_set_aside_documents",
            "Documents that search will never take: an alarm when not 0.",
        )
        self._missed = gauge(
            "search_missed_events",
            "Events that had left the logs before they were projected: an alarm when not 0.",
        )
        self._answered = histogram(
            "search_answer_seconds",
            "Questions of search by who answered: opensearch, postgres.",
            ["source", "question"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )

    def webhook_batch(self, size: int) -> None:
        self._batch.observe(size)

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

    def logs(self, extents: Sequence[LogExtent], unsealed: Mapping[Space, int]) -> None:
        for each in extents:
            self._days.labels(each.space).set(each.days)
            self._unsealed_days.labels(each.space).set(unsealed.get(each.space, 0))
            self._log_bytes.labels(each.space).set(each.size_bytes)
            if each.last_sealed_at is not None:
                self._last_seal.labels(each.space).set(each.last_sealed_at.timestamp())

    def maintained(self, result: str, seconds: float) -> None:
        self._rounds.labels(result).inc()
        self._round_seconds.observe(seconds)

    def retention(self, overdue_days: int) -> None:
        self._overdue_days.set(overdue_days)

    # ── Search ────────────────────────────────────────────────────────────────────────────────────

    def projected(self, events: int, documents: int, seconds: float) -> None:
        self._projected.inc(events)
        self._documents.inc(documents)
        self._stretch_seconds.observe(seconds)

    def search_lag(self, events: int, seconds: float) -> None:
        self._lag_events.set(events)
        self._lag_seconds.set(seconds)

    def search_health(self, degraded: bool, rejects: int, missed_events: int) -> None:
        self._degraded.set(degraded)
        self._search_rejects.set(rejects)
        self._missed.set(missed_events)

    def search_answered(self, source: str, question: str, seconds: float) -> None:
        self._answered.labels(source, question).observe(seconds)

    # ── Consumers ─────────────────────────────────────────────────────────────────────────────────

    def consumed(self, space: Space, outcome: str, count: int) -> None:
        """Messages that came to this; who accepted them has counted that."""
        self._webhooks.labels(space, outcome).inc(count)

    def age(self, space: Space, seconds: float) -> None:
        self._ages[space].observe(seconds)

    def pending(self, space: Space, messages: int) -> None:
        self._pending.labels(space).set(messages)

    def consumer_stopped(self, space: Space, stopped: bool) -> None:
        self._stopped.labels(space).set(stopped)

    def dead_letters_refused(self, space: Space, refused: bool) -> None:
        self._refused.labels(space).set(refused)

    def dead_letters(self, space: Space, counted: LetterCount) -> None:
        self._open_letters.labels(space).set(counted.open)
        self._replayed.labels(space).set(counted.replayed)
