"""The services of either mode as one thing: where webhooks go in, where operators ask, and when
what went in is done with.

How to think about it: a `Deployment` without topics is sync mode, one service; with topics it is
Kafka mode: the API, which consumes, beside Ingest, and as many workers as a test adds. Tests that
are the same for both modes send to `webhooks`, wait until it is `settled`, and look at `api`.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.load import Load
from tests.e2e.service import Service, eventually
from tests.e2e.wire import send_as_provider
from tests.e2e_kafka.topics import Topics

SETTLE_SECONDS = 120.0
"""A killed consumer's partitions are given to others after ten; the machine may be busy."""


class Deployment:
    """Services in `folder`. `api_consumes`: else workers alone do, and the API only has the
    database.
    """

    def __init__(
        self,
        folder: Path,
        topics: Topics | None = None,
        *,
        api_consumes: bool = True,
        **settings: str,
    ) -> None:
        self._folder = folder
        self._topics = topics
        self._settings = {**(topics.settings if topics else {}), **settings}
        mode = "kafka" if topics and api_consumes else "sync"
        self.services: list[Service] = []
        self._killed: list[Service] = []
        self.api = self._service("api", "dev", WEBHOOK_MODE=mode)
        self.taking = self._service("ingest", "ingest") if topics else self.api
        """Who takes webhooks."""

    @property
    def topics(self) -> Topics:
        assert self._topics is not None, "sync mode"
        return self._topics

    @property
    def mode(self) -> str:
        return "kafka" if self._topics else "sync"

    def worker(self) -> Service:
        """One more, to be started; it shares the API's database."""
        number = len(self.services)
        return self._service(f"worker-{number}", "worker", DATA_DIR=str(self.api.data_dir))

    def _service(self, name: str, command: str, **settings: str) -> Service:
        service = Service(self._folder / name, command, **{**self._settings, **settings})
        self.services.append(service)
        return service

    # ── Its life ──────────────────────────────────────────────────────────────────────────────────

    def start(self) -> "Deployment":
        """All at once; they wait for one another."""
        for service in self.services:
            service.launch()
        for service in self.services:
            service.started()
        return self

    def stop(self) -> None:
        """In good order: everybody ends with 0 and without a word on the error stream."""
        for service in reversed(self.services):
            if service not in self._killed:
                assert service.is_alive, (service.command, service.ended(), service.lines[-5:])
                assert service.stop() == 0, (service.command, service.lines[-5:])
            assert service.said == ""

    def kill(self, service: Service, *, for_good: bool = False) -> None:
        """kill -9 of one that has lived until now."""
        assert service.is_alive, (service.command, service.ended(), service.lines[-5:])
        service.kill()
        if for_good:
            self._killed.append(service)

    def clean_up(self) -> None:
        """Leave nothing behind, whatever the test did; then the logs must be clean."""
        for client in (self.__dict__.get("webhooks"), self.__dict__.get("operators")):
            if client is not None:
                client.close()
        for service in reversed(self.services):
            service.clean_up()
        if self._topics:
            self._topics.close()
        for service in self.services:
            service.check_log()

    def expect(self, *events: str) -> None:
        """Errors that the logs may hold."""
        for service in self.services:
            service.expected |= set(events)

    # ── Talking to it ─────────────────────────────────────────────────────────────────────────────

    @cached_property
    def webhooks(self) -> httpx.Client:
        return self.taking.client()

    @cached_property
    def operators(self) -> httpx.Client:
        return self.api.client()

    def deliver(self, path: str, body: bytes, **headers: str) -> dict[str, Any]:
        """The answer to a webhook that is taken, or in sync mode refused by the state machine."""
        answer = send_as_provider(self.webhooks, path, body, **headers)
        assert answer.status_code in ((202,) if self._topics else (200, 202, 422)), answer.text
        said: dict[str, Any] = answer.json()
        return said

    def load(self, **how: Any) -> Load:
        return Load(self.taking.port, knows_again=self._topics is None, **how)

    def settled(self, timeout: float = SETTLE_SECONDS) -> None:
        """Returns when all that was acknowledged is done with."""
        if self._topics:
            eventually(self._topics.is_settled, timeout, every=0.02)

    def metric(self, service: Service, name: str, **labels: str) -> float:
        """The sum over all lines of this name with at least these labels."""
        with service.client() as client:
            page = client.get("/metrics").text
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            float(line.rpartition(" ")[2])
            for line in page.splitlines()
            if line.partition("{")[0].partition(" ")[0] == f"payment_manager_{name}"
            and all(label in line for label in wanted)
        )

    def assert_metrics_balance(self) -> None:
        """I2, in a life in which nobody was killed: what was accepted came to something."""
        # A consumer counts when it has committed, so a moment after it is done.
        eventually(lambda: self._is_balanced("order") and self._is_balanced("dispute"), timeout=60)

    def _is_balanced(self, space: str) -> bool:
        came_to = ("applied", "stale", "duplicate", "rejected", "parked", "dead_lettered")
        accepted = self._total("webhooks_accepted_total", space=space)
        # Refused for want of the broker's answer, and in the topic perhaps; usually none.
        unknown = self._total("webhooks_total", space=space, outcome="unknown")
        total = sum(
            self._total("webhooks_total", space=space, outcome=outcome) for outcome in came_to
        )
        return accepted <= total <= accepted + unknown

    def _total(self, name: str, **labels: str) -> float:
        return sum(self.metric(service, name, **labels) for service in self.services)
