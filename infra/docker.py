"""The same by Docker: compose.yaml, where a `docker compose` and a daemon are.

How to think about it: compose does all the work; this only asks whether it can, says which services
are infrastructure, and knows where compose.yaml publishes them on this machine.
"""

import os
import signal
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

COMPOSE = Path(__file__).parents[1] / "compose.yaml"

# All but our own services.
INFRASTRUCTURE = ("postgres", "kafka", "silvergate")
SEARCH = ("opensearch", "dashboards")

INSIDE = "http://opensearch:9200"
"""OpenSearch's address for services that run in compose; unset, they do without."""

_ASK_SECONDS_MAX = 15
_INTERRUPTED = 128 + signal.SIGINT


@cache
def is_there() -> bool:
    """Whether compose is installed and a daemon answers."""
    return _answers("docker", "compose", "version") and _answers("docker", "info")


def up(*, search: bool = False) -> int:
    """Everything, with both services' logs, until Ctrl-C; answers the exit code."""
    profile = ("--profile", "search") if search else ()
    command = _compose(*profile, "up", "--build", "--attach", "api", "--attach", "ingest")
    environment = {**os.environ, "OPENSEARCH_URLS": INSIDE} if search else None
    # A terminal's Ctrl-C reaches compose too: it stops all in order, and we wait for that.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with subprocess.Popen(command, env=environment) as compose:
        signal.signal(signal.SIGTERM, lambda *_: compose.terminate())
        exit_code = compose.wait()
    return 0 if exit_code in (0, _INTERRUPTED, 128 + signal.SIGTERM) else exit_code


def start(*, search: bool = False) -> None:
    """Infrastructure alone, in the background, healthy when this returns."""
    services = (*INFRASTRUCTURE, *(SEARCH if search else ()))
    subprocess.run(_compose("up", "--detach", "--wait", *services), check=True)


def stop() -> None:
    """All of it, of every profile; the data stays in its volumes."""
    subprocess.run(_compose("--profile", "*", "down"), check=True)


def addresses(
    postgres_port: int, kafka_port: int, provider_port: int, opensearch_port: int | None = None
) -> Mapping[str, str]:
    """The settings with which services outside of Docker find it."""
    search = {"OPENSEARCH_URLS": f"http://127.0.0.1:{opensearch_port}"} if opensearch_port else {}
    return {
        "PG_URL": f"postgresql://payments:payments@127.0.0.1:{postgres_port}/payments",
        "KAFKA_BROKERS": f"127.0.0.1:{kafka_port}",
        "SILVERGATE_BASE_URL": f"http://127.0.0.1:{provider_port}",
        **search,
    }


def _compose(*arguments: str) -> list[str]:
    return ["docker", "compose", "--file", str(COMPOSE), *arguments]


def _answers(*command: str) -> bool:
    try:
        asked = subprocess.run(command, capture_output=True, timeout=_ASK_SECONDS_MAX)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0
