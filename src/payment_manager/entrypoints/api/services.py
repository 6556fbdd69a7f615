"""What the API's routes call, wired elsewhere."""

from dataclasses import dataclass
from typing import Protocol

from payment_manager.application.apply_webhooks import Taken, Webhook
from payment_manager.application.batching import Batcher
from payment_manager.application.operate import Operate
from payment_manager.application.ports import Space
from payment_manager.application.queries import Queries
from payment_manager.application.search import Search
from payment_manager.entrypoints.http.operations import Probes


class ApiTelemetry(Protocol):
    """`Telemetry` as the edge needs it, and the page that is scraped."""

    content_type: str

    def webhook(self, space: Space, outcome: str) -> None: ...

    def request(self, method: str, route: str, status: int, seconds: float) -> None: ...

    def render(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Services:
    webhooks: Batcher[Webhook, Taken] | None
    """None in Kafka mode, where Ingest takes them."""
    operate: Operate
    queries: Queries
    search: Search
    telemetry: ApiTelemetry
    probes: Probes
