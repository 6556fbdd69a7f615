"""A scenario played by k6: a plan for its script, and its summary read back.

How to think about it: k6 keeps time, counts and judges; this module only translates. It knows the
limits as thresholds, so its exit code (0, or 99 for a missed one) is a verdict of its own, and a
verdict that isn't ours is an error.
"""

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from infra.leash import Leash
from tests.benchmarks.generator import Address
from tests.benchmarks.scenarios import Arrivals, Callers, Outcome, Scenario, Stream

SCRIPT = Path(__file__).parent / "k6" / "streams.js"

CALLERS_REQUESTS = 50_000
"""For a stream of callers, who may ask any number of times: then from the start again."""

_THRESHOLD_MISSED = 99
_SUMMARY_SECONDS_MAX = 120.0


class K6Failed(Exception):
    """k6 did not run to its end, or judged otherwise than we do; its last words are in the text."""


async def play(
    k6: Path,
    scenario: Scenario,
    requests: Mapping[str, Iterator[bytes]],
    address: Address,
    folder: Path,
) -> dict[str, Outcome]:
    """`requests`: for each stream, as HTTP/1.1. Raises K6Failed."""
    plan, summary = _write_plan(scenario, requests, address, folder)
    process = await asyncio.create_subprocess_exec(
        k6, "run", "--quiet", "--no-color", "--address", "", SCRIPT,
        env={
            # The plan says it all: whoever set K6_VUS for something else doesn't mean this run.
            **{name: value for name, value in os.environ.items() if not name.startswith("K6_")},
            "PLAN": str(plan),
            "K6_NO_USAGE_REPORT": "true",
            "K6_AUTO_EXTENSION_RESOLUTION": "false",  # there is nothing to fetch
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    with Leash(process.pid):
        try:
            async with asyncio.timeout(scenario.seconds + _SUMMARY_SECONDS_MAX):
                said, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    words = said.decode(errors="replace")[-2000:]
    if process.returncode not in (0, _THRESHOLD_MISSED):
        raise K6Failed(f"k6 ended with {process.returncode}:\n{words}")
    metrics = json.loads(summary.read_text())["metrics"]
    outcomes = {stream.name: _outcome(metrics, stream) for stream in scenario.streams}
    kept = all(outcomes[stream.name].keeps(stream.limits) for stream in scenario.streams)
    if kept != (process.returncode == 0):
        raise K6Failed(f"k6 ended with {process.returncode}, yet we find {outcomes}:\n{words}")
    return outcomes


def options(scenario: Scenario) -> dict[str, Any]:
    """As a k6 script exports them."""
    return {
        "discardResponseBodies": True,
        "summaryTrendStats": ["med", "p(95)", "p(99)", "max"],
        "scenarios": {stream.name: _executor(stream.load) for stream in scenario.streams},
        "thresholds": {
            metric: limits
            for stream in scenario.streams
            for metric, limits in _thresholds(stream).items()
        },
    }


def _executor(load: Callers | Arrivals) -> dict[str, Any]:
    match load:
        case Callers():
            return {"executor": "constant-vus", "vus": load.count, **_lasting(load.seconds)}
        case Arrivals(rising_from=None):
            return {
                "executor": "constant-arrival-rate",
                "rate": load.per_second,
                **_lasting(load.seconds),
                **_arriving(load),
            }
        case Arrivals():
            return {
                "executor": "ramping-arrival-rate",
                "startRate": load.rising_from,
                "stages": [{"target": load.per_second, **_lasting(load.seconds)}],
                **_arriving(load),
            }


def _lasting(seconds: float) -> dict[str, str]:
    return {"duration": f"{seconds * 1000:.0f}ms"}


def _arriving(load: Arrivals) -> dict[str, Any]:
    return {
        "timeUnit": "1s",
        "startTime": f"{load.after * 1000:.0f}ms",
        # All there from the start: making one takes time that would be another's.
        "preAllocatedVUs": load.connections,
        "maxVUs": load.connections,
    }


def _thresholds(stream: Stream) -> dict[str, list[str]]:
    limits, only = stream.limits, f"{{scenario:{stream.name}}}"
    return {
        f"http_reqs{only}": ["count>0"],
        f"http_req_failed{only}": [f"rate<={limits.failed}"],
        f"http_req_duration{only}": [f"p(95)<={limits.p95_ms}", f"p(99)<={limits.p99_ms}"],
        f"dropped_iterations{only}": [f"count<={limits.dropped}"],
    }


def _write_plan(
    scenario: Scenario,
    requests: Mapping[str, Iterator[bytes]],
    address: Address,
    folder: Path,
) -> tuple[Path, Path]:
    folder.mkdir()
    files = {}
    for stream in scenario.streams:
        load = stream.load
        # One more than planned: k6 may start one at the very end.
        count = load.count + 1 if isinstance(load, Arrivals) else CALLERS_REQUESTS
        file = folder / f"{stream.name}.requests"
        file.write_bytes(b"".join(map(_line, islice(requests[stream.name], count))))
        files[stream.name] = str(file)
    plan, summary = folder / "plan.json", folder / "summary.json"
    plan.write_text(
        json.dumps(
            {
                "address": f"http://{address.host}:{address.port}",
                "requests": files,
                "options": options(scenario),
                "summary": str(summary),
            }
        )
    )
    return plan, summary


def _line(request: bytes) -> bytes:
    head, _, body = request.partition(b"\r\n\r\n")
    method, target, _ = head.split(b" ", 2)
    return b"%b %b %b\n" % (method, target, body)


def _outcome(metrics: Mapping[str, Any], stream: Stream) -> Outcome:
    def values(metric: str) -> dict[str, float]:
        found: dict[str, float] = metrics[f"{metric}{{scenario:{stream.name}}}"]["values"]
        return found

    took = values("http_req_duration")
    return Outcome(
        requests=int(values("http_reqs")["count"]),
        failed=int(values("http_req_failed")["passes"]),  # k6 passes what is a failure
        dropped=int(values("dropped_iterations")["count"]),
        p50_ms=took["med"],
        p95_ms=took["p(95)"],
        p99_ms=took["p(99)"],
        max_ms=took["max"],
    )
