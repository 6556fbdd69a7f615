"""A service with search, and whether search is what the logs say.

How to think about it: `api` takes webhooks and answers questions; projectors may be added. What
search must hold is asked of PostgreSQL by SQL of the tests' own, and compared with every document
that OpenSearch has, not with a sample.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg

from infra.opensearch_server import OpenSearchServer
from payment_manager.adapters.postgres.embedded import running_url
from tests.e2e.load import Load
from tests.e2e.service import COMMAND, Service, eventually
from tests.e2e.wire import send_as_provider
from tests.opensearch import SECONDS_MAX, IndexNames

CATCH_UP_SECONDS = 120.0
"""It takes two; other tests may have the machine meanwhile."""

COMMAND_SECONDS_MAX = 240.0
"""A command takes one or two, most of it to begin; half a minute where others have the machine."""

_US = "(extract(epoch FROM {}) * 1000000)::bigint"

# Of each kind the fields of a document, and what they must be.
_KINDS: Mapping[str, tuple[Sequence[str], str]] = {
    "events_orders": (
        ("event_id", "order_id", "sequence", "kind", "provider_event_id", "data", "position",
         "correlation_id", "recorded_us"),
        "SELECT event_id::text, order_id, sequence, kind, provider_event_id, data::text, position,"
        f" correlation_id, {_US.format('created_at')} FROM order_events",
    ),
    "events_disputes": (
        ("event_id", "dispute_id", "order_id", "sequence", "kind", "provider_event_id", "data",
         "position", "correlation_id", "recorded_us"),
        "SELECT event_id::text, dispute_id::text, d.order_id, e.sequence, kind, provider_event_id,"
        f" data::text, position, correlation_id, {_US.format('created_at')}"
        " FROM dispute_events AS e JOIN disputes AS d USING (dispute_id)",
    ),
    "orders": (
        ("order_id", "sequence", "user_id", "status", "amount_minor", "currency"),
        "SELECT order_id, sequence, user_id::text, status, amount_minor, currency FROM orders",
    ),
    "disputes": (
        ("dispute_id", "order_id", "sequence", "status", "reason", "amount_minor", "currency",
         "recorded_us"),
        "SELECT dispute_id::text, order_id, sequence, status, reason, amount_minor, currency,"
        f" {_US.format('first_event_at')} FROM disputes",
    ),
}  # fmt: skip

Rows = set[tuple[Any, ...]]


class Searched:
    """An API in `folder`, and what shares its database."""

    def __init__(
        self, folder: Path, node: OpenSearchServer, names: IndexNames, **settings: str
    ) -> None:
        self.node = node
        self.names = names
        self._folder = folder
        self._settings = {"OPENSEARCH_URLS": node.url, **names.environment, **settings}
        self.api = Service(folder / "api", **self._settings)
        self.services = [self.api]

    def projector(self) -> Service:
        """One more, to be started."""
        number = len(self.services)
        service = Service(
            self._folder / f"projector-{number}",
            "project",
            **{**self._settings, "DATA_DIR": str(self.api.data_dir)},
        )
        self.services.append(service)
        return service

    def start(self) -> "Searched":
        """All at once."""
        for service in self.services:
            service.launch()
        for service in self.services:
            service.started()
        return self

    def stop(self) -> None:
        for service in reversed(self.services):
            assert service.stop() == 0, (service.command, service.lines[-5:])
            assert service.said == ""

    def clean_up(self) -> None:
        for service in reversed(self.services):
            service.clean_up()
        for service in self.services:
            service.check_log()

    # ── Asking ────────────────────────────────────────────────────────────────────────────────────

    def get(self, path: str, **asked: Any) -> Any:
        with self.api.client() as client:
            answer = client.get(path, params=asked)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: bytes) -> None:
        """Returns when it is acknowledged."""
        with self.api.client() as client:
            assert send_as_provider(client, path, body).status_code in (200, 202)

    @property
    def health(self) -> str:
        """What the probe says of search, whatever it says of a database that is slow just now."""
        with self.api.client() as client:
            return str(client.get("/health/ready").json()["checks"]["search"])

    @property
    def source(self) -> str:
        """Who answers."""
        return str(self.get("/search/disputes", limit=1)["source"])

    def metric(self, name: str) -> float:
        with self.api.client() as client:
            page = client.get("/metrics").text
        [line] = [each for each in page.splitlines() if each.startswith(f"payment_manager_{name} ")]
        return float(line.rpartition(" ")[2])

    def load(self, **how: Any) -> Load:
        return Load(self.api.port, **how)

    def command(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        process = self.begin(*arguments, **settings)
        stdout, stderr = process.communicate(timeout=COMMAND_SECONDS_MAX)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def begin(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """`payment-manager search …`, beside the service."""
        return subprocess.Popen(
            [COMMAND, "search", *arguments],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.api.data_dir),
                **self.api.settings,
                **settings,
            },
            cwd=self.api.data_dir,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def holding(self, lock: int) -> Iterator[None]:
        """What one process leads at a time is led by the test meanwhile; waits for its turn."""
        url = running_url(self.api.data_dir)
        assert url is not None
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [lock])
            yield

    # ── What is there ─────────────────────────────────────────────────────────────────────────────

    def asking_node(self) -> httpx.Client:
        """For what only OpenSearch itself can tell or do."""
        return httpx.Client(base_url=self.node.url, trust_env=False, timeout=SECONDS_MAX)

    @property
    def builds(self) -> set[str]:
        """All that have an index of orders, the one that answers and others."""
        with self.asking_node() as node:
            found = node.get(f"/{self.names.orders}-*").json()
        return {name.removeprefix(f"{self.names.orders}-") for name in found}

    @property
    def build(self) -> str:
        """The one that is followed."""
        [(build,)] = self.api.query("SELECT build FROM projections WHERE name = 'search'")
        return str(build)

    @property
    def has_followed(self) -> bool:
        """Whether a projector has led, where nothing was there to be built."""
        found = self.api.query("SELECT order_position > 0 FROM projections WHERE name = 'search'")
        return found == [(True,)]

    def caught_up(self) -> None:
        """Returns when what answers has all that is committed."""
        eventually(self._is_caught_up, CATCH_UP_SECONDS, every=0.1)

    def _is_caught_up(self) -> bool:
        found = self.api.query("SELECT build FROM projections WHERE name = 'search'")
        with self.asking_node() as node:
            answering = node.get(f"/{self.names.orders}/_alias")
        if [f"{self.names.orders}-{build}" for (build,) in found] != list(answering.json()):
            return False
        waiting = self.api.query(
            "SELECT count(*) FROM event_batches AS b JOIN projections AS p ON p.name = 'search'"
            " WHERE NOT pg_visible_in_snapshot(b.transaction_id, p.seen)"
        )
        return waiting == [(0,)]

    def assert_search_is_the_log(self) -> None:
        """Every document, and no other, as it was recorded."""
        self.caught_up()
        for kind, (fields, statement) in _KINDS.items():
            wanted: Rows = set(self.api.query(statement))
            found = list(self._documents(getattr(self.names, kind), fields))
            assert len(found) == len(wanted), kind
            odd = wanted.symmetric_difference(found)
            assert not odd, f"{len(odd)} {kind} are not as recorded: {sorted(odd, key=str)[:4]}"

    def _documents(self, index: str, fields: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        after: list[Any] | None = None
        with self.asking_node() as client:
            while True:
                asked: dict[str, Any] = {
                    "size": 5000,
                    "sort": [{fields[0]: "asc"}],
                    "_source": fields,
                }
                if after is not None:
                    asked["search_after"] = after
                answer = client.post(f"/{index}/_search", json=asked).raise_for_status().json()
                hits = answer["hits"]["hits"]
                for hit in hits:
                    source = hit["_source"]
                    assert hit["_id"] == source[fields[0]]
                    yield tuple(source.get(field) for field in fields)
                if len(hits) < 5000:
                    return
                after = hits[-1]["sort"]
