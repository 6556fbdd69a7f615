"""The service under a sampling profiler: `python -m tests.benchmarks.sampled OUT api`.

How to think about it: every two milliseconds of its own CPU time the process looks at its stack and
notes who is at work: the innermost known package, so that the time of libraries in C counts for
whoever called them. It begins at SIGUSR1, so the start is left out. It costs about a percent,
unlike a tracing profiler, which doubles the price of small functions and so tells a wrong story.
"""

import dis
import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from payment_manager.cli import main as service

INTERVAL_SECONDS = 0.002

_KNOWN = {
    "uvicorn": "HTTP: uvicorn and httptools",
    "litestar": "Litestar",
    "psycopg": "psycopg",
    "psycopg_pool": "psycopg's pool",
    "structlog": "request log (structlog)",
    "prometheus_client": "metrics",
    "pydantic": "wire checks (contracts)",
    "tenacity": "tenacity",
    "confluent_kafka": "Kafka client",
    "payment_manager/entrypoints/http/edge": "edge (limits, correlation id)",
    "payment_manager/entrypoints/http/bodies": "edge (limits, correlation id)",
    "payment_manager/entrypoints/http/connection": "HTTP: uvicorn and httptools",
    "payment_manager/entrypoints": "entrypoints",
    "payment_manager/contracts": "wire checks (contracts)",
    "payment_manager/domain": "domain (decide, evolve)",
    "payment_manager/application/batching": "batcher",
    "payment_manager/application": "application",
    "payment_manager/adapters/telemetry/logs": "request log (structlog)",
    "payment_manager/adapters/telemetry": "metrics",
    "payment_manager/adapters/kafka": "Kafka client",
    "payment_manager/adapters/postgres": "rows to JSON and back (adapter)",
}
_LOOP = "event loop and sockets (uvloop)"
_RESUME = dis.opmap["RESUME"]


class Samples:
    def __init__(self) -> None:
        self.layers: Counter[str] = Counter()
        self.own: Counter[str] = Counter()
        self.under: Counter[str] = Counter()
        self._layer_of_file: dict[str, str | None] = {}

    def take(self, _number: int, frame: FrameType | None) -> None:
        if frame is None:
            return
        # A callback that has just begun: the time was the loop's, which has no frames of its own.
        outermost = frame.f_back is None or self._is_loop(frame.f_back)
        if self._is_loop(frame) or (outermost and frame.f_code.co_code[frame.f_lasti] == _RESUME):
            self.layers[_LOOP] += 1
            self.own[_LOOP] += 1
            return
        self.own[_name(frame)] += 1
        layer: str | None = None
        seen: set[str] = set()
        at: FrameType | None = frame
        while at is not None:
            layer = layer or self._layer(at.f_code.co_filename)
            seen.add(_name(at))
            at = at.f_back
        self.layers[layer or "other"] += 1
        self.under.update(seen)

    def _is_loop(self, frame: FrameType) -> bool:
        return frame.f_code.co_filename.endswith(
            ("uvloop/__init__.py", "asyncio/runners.py", "asyncio/base_events.py")
        )

    def _layer(self, filename: str) -> str | None:
        if filename not in self._layer_of_file:
            _, _, path = filename.rpartition(
                "site-packages/" if "site-packages/" in filename else "/src/"
            )
            found = [known for known in _KNOWN if path.startswith(known)]
            self._layer_of_file[filename] = _KNOWN[max(found, key=len)] if found else None
        return self._layer_of_file[filename]


def _name(frame: FrameType) -> str:
    code = frame.f_code
    path = code.co_filename.rpartition("site-packages/")[2].rpartition("/src/")[2]
    return f"{code.co_qualname} ({path})"


def main() -> None:
    out = Path(sys.argv[1])
    sys.argv = ["payment-manager", *sys.argv[2:]]
    samples = Samples()
    signal.signal(signal.SIGPROF, samples.take)
    signal.signal(
        signal.SIGUSR1,
        lambda *_: signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS, INTERVAL_SECONDS),
    )
    try:
        service()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        out.write_text(
            json.dumps(
                {
                    "layers": samples.layers.most_common(),
                    "own": samples.own.most_common(60),
                    "under": samples.under.most_common(120),
                }
            )
        )


if __name__ == "__main__":
    main()
