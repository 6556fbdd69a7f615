"""A real OpenSearch of our own: one node, on loopback, without its security, as durable as its
defaults.

How to think about it: a LocalServer whose settings are all given on the command line, so that its
folder holds data and a log and nothing to configure. Each start gives the node a name of its own;
it is up when that name answers and every index that it had can be asked again.

    RuntimeError
    └── OpenSearchServerError    it did not start (with its log's end), or its port is taken
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from infra.java import JavaServer
from infra.local_server import HOST, LocalServer

_FOLDER = Path(__file__).parent / "opensearch"
OPENSEARCH = JavaServer(
    _FOLDER / "pom.xml",
    java_version_min=21,  # OpenSearch 3's classes are of that version
    source=_FOLDER / "SingleNode.java",
)

SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "cluster.name": "payment-manager",
        "discovery.type": "single-node",
        "http.host": HOST,
        "http.type": "netty4",
        "transport.host": HOST,
        "transport.port": "0",  # any: nobody else joins
        "transport.type": "netty4",
        # On a developer's full disk it would forbid writes, or put no index anywhere.
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        "logger.level": "WARN",
    }
)

# Read without memory maps, which only code that is compiled best reads well.
_QUICK_SETTINGS = {"node.store.allow_mmap": "false"}


class OpenSearchServerError(RuntimeError):
    """The node did not start; the message says why, with the end of its log."""


def is_settled(health: Mapping[str, Any]) -> bool:
    """Whether nothing is on its way any more: an index that can't be asked then never can, which is
    for its owner to see. A node that has not read yet which indices it has lacks none of them.
    """
    on_its_way = ("initializing_shards", "number_of_in_flight_fetch", "number_of_pending_tasks")
    return health["unassigned_shards"] > 0 and not any(health[each] for each in on_its_way)


def why_not() -> str | None:
    """Why no OpenSearch can run on this machine, in words; None where one can."""
    return OPENSEARCH.why_not()


class OpenSearchServer(LocalServer):
    """A node in `data_dir`, on `port` or a free one.

    `long_running` is for benchmarks and service: slower to start, faster once it is warm.
    Its log is `data_dir`/opensearch.log. Not for several threads at once.
    """

    name = "OpenSearch"
    error = OpenSearchServerError
    start_seconds_max = 120.0  # of a first start on a busy machine; a quiet one takes three to ten
    stop_seconds_max = 40.0  # the first stop also writes the archive of classes

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        heap: str = "512m",
        *,
        long_running: bool = False,
    ) -> None:
        super().__init__(data_dir, port)
        self._heap = heap
        self._long_running = long_running
        self._node = ""

    @property
    def url(self) -> str:
        """The same at every start."""
        return f"http://{HOST}:{self.port}"

    def _prepare(self) -> list[str]:
        if OPENSEARCH.java() is None:
            raise OpenSearchServerError(why_not())
        self._node = f"node-{uuid.uuid4().hex[:12]}"
        settings = {
            **SETTINGS,
            **({} if self._long_running else _QUICK_SETTINGS),
            "node.name": self._node,
            "http.port": str(self.port),
            "path.home": str(self._data_dir),
            "path.data": str(self._data_dir / "data"),
            "path.logs": str(self._data_dir / "logs"),
        }
        return OPENSEARCH.command(
            "SingleNode",
            *(f"{name}={value}" for name, value in settings.items()),
            heap=self._heap,
            long_running=self._long_running,
        )

    def _is_up(self) -> bool:
        try:
            with httpx.Client(base_url=self.url, trust_env=False, timeout=5) as client:
                if client.get("/").json()["name"] != self._node:
                    return False
                # Yellow: one copy of each index can be asked.
                asked = {"wait_for_status": "yellow", "timeout": "2s"}
                answer = client.get("/_cluster/health", params=asked)
                return answer.status_code == 200 or is_settled(answer.json())
        except (httpx.TransportError, ValueError, LookupError):
            return False
