"""OpenSearch for tests: one real node a test process, and names that no other test uses.

How to think about it: the node starts with the first test that asks for it, and tests share it
without meeting, since each names its own indices. A test that kills or pauses one takes the frail
one, which is another node, and leaves it started for the next.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from infra.opensearch_server import OpenSearchServer, why_not

TIMEOUT_SECONDS = 360
"""For a test with which a node may start, or one that starts it again: each start may take 120."""

SECONDS_MAX = 60.0
"""For an answer where only what it says matters: milliseconds, and a busy machine."""


@dataclass(frozen=True, slots=True)
class IndexNames:
    """The aliases of one test, as the settings name them."""

    events_orders: str
    events_disputes: str
    orders: str
    disputes: str

    @classmethod
    def under(cls, prefix: str) -> "IndexNames":
        return cls(
            f"{prefix}-events-orders",
            f"{prefix}-events-disputes",
            f"{prefix}-orders",
            f"{prefix}-disputes",
        )

    @property
    def prefix(self) -> str:
        return self.orders.removesuffix("-orders")

    @property
    def environment(self) -> dict[str, str]:
        """For a service of this test."""
        return {
            "OPENSEARCH_INDEX_ORDERS": self.events_orders,
            "OPENSEARCH_INDEX_DISPUTES": self.events_disputes,
            "OPENSEARCH_INDEX_ORDER_STATES": self.orders,
            "OPENSEARCH_INDEX_DISPUTE_STATES": self.disputes,
        }


@pytest.fixture(scope="session")
def opensearch_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSearchServer]:
    """A node that is up, for all tests of this process."""
    with node_at(tmp_path_factory.mktemp("opensearch")) as server:
        yield server


@pytest.fixture(scope="session")
def _frail_opensearch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSearchServer]:
    with node_at(tmp_path_factory.mktemp("frail-opensearch")) as server:
        yield server


@pytest.fixture
def frail_opensearch(_frail_opensearch: OpenSearchServer) -> Iterator[OpenSearchServer]:
    """A node that this test may kill, stop or pause; the next test finds it started again."""
    yield _frail_opensearch.start()
    _frail_opensearch.resume()


@pytest.fixture
def index_names(request: pytest.FixtureRequest) -> Iterator[IndexNames]:
    """Names of this test's own; what it left under them goes when it ends."""
    names = IndexNames.under(f"t{uuid.uuid4().hex[:12]}")
    yield names
    if "opensearch_server" in request.fixturenames:
        server: OpenSearchServer = request.getfixturevalue("opensearch_server")
        url = f"{server.url}/{names.prefix}-*"
        httpx.delete(url, trust_env=False, timeout=SECONDS_MAX).raise_for_status()


@contextmanager
def node_at(directory: Path) -> Iterator[OpenSearchServer]:
    """A node of its own. Without OpenSearch on this machine, the test is skipped."""
    if (reason := why_not()) is not None:
        pytest.skip(f"no OpenSearch on this machine: {reason}")
    with OpenSearchServer(directory) as server:
        yield server
