"""What k6 is handed and how its words are taken, with a program in its place that sends nothing."""

import json
import sys
from itertools import repeat
from pathlib import Path

import pytest

from tests.benchmarks import by_k6
from tests.benchmarks.by_k6 import SCRIPT, K6Failed
from tests.benchmarks.generator import Address
from tests.benchmarks.mix import get, post
from tests.benchmarks.scenarios import Arrivals, Asks, Callers, Limits, Outcome, Scenario, Stream

LIMITS = Limits(p95_ms=100, p99_ms=200)
SCENARIO = Scenario(
    "day",
    [
        Stream("webhooks", Asks.WEBHOOKS, Arrivals(3, 1.0), LIMITS),
        Stream("reads", Asks.READS, Callers(2, 1.0), LIMITS),
    ],
)
REQUESTS = {
    "webhooks": repeat(post("/webhooks/payments/orders", {"order_id": "ö 1"})),
    "reads": repeat(get("/orders?status=failed&limit=5")),
}

CALLERS_REQUESTS = 10


@pytest.fixture(autouse=True)
def few_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_k6, "CALLERS_REQUESTS", CALLERS_REQUESTS)


# Of every stream as many as there are lines of requests, and the same latencies.
PROGRAM = """#!{python}
import json, os, sys
plan = json.load(open(os.environ["PLAN"]))
print("k6's last words", sys.argv[1:])
metrics = {{}}
for stream, file in plan["requests"].items():
    count = len(open(file).read().splitlines())
    for metric, values in {{
        "http_reqs": {{"count": count}},
        "http_req_failed": {{"rate": 0, "passes": 0, "fails": count}},
        "dropped_iterations": {{"count": 0}},
        "http_req_duration": {{"med": 1.5, "p(95)": {p95}, "p(99)": {p95}, "max": 90.5}},
    }}.items():
        metrics[metric + "{{scenario:" + stream + "}}"] = {{"values": values}}
json.dump({{"metrics": metrics}}, open(plan["summary"], "w"))
sys.exit({code})
"""


def program(folder: Path, *, code: int, p95: float = 2.5) -> Path:
    made = folder / "k6"
    made.write_text(PROGRAM.format(python=sys.executable, code=code, p95=p95))
    made.chmod(0o755)
    return made


async def play(folder: Path, *, code: int, p95: float = 2.5) -> dict[str, Outcome]:
    return await by_k6.play(
        program(folder, code=code, p95=p95),
        SCENARIO,
        REQUESTS,
        Address("127.0.0.1", 3000),
        folder / "day",
    )


async def test_the_plan_holds_the_requests_as_they_are_and_where_to_send_them(
    tmp_path: Path,
) -> None:
    await play(tmp_path, code=0)
    plan = json.loads((tmp_path / "day" / "plan.json").read_text())
    assert plan["address"] == "http://127.0.0.1:3000"
    webhooks = Path(plan["requests"]["webhooks"]).read_text().splitlines()
    assert webhooks == ['POST /webhooks/payments/orders {"order_id":"\\u00f6 1"}'] * 4
    reads = Path(plan["requests"]["reads"]).read_text().splitlines()
    assert set(reads) == {"GET /orders?status=failed&limit=5 "}


async def test_the_script_knows_every_key_of_the_plan(tmp_path: Path) -> None:
    await play(tmp_path, code=0)
    for key in json.loads((tmp_path / "day" / "plan.json").read_text()):
        assert f"plan.{key}" in SCRIPT.read_text()


async def test_its_summary_is_what_became_of_each_stream(tmp_path: Path) -> None:
    found = await play(tmp_path, code=0)
    assert found["webhooks"] == Outcome(
        requests=4, failed=0, dropped=0, p50_ms=1.5, p95_ms=2.5, p99_ms=2.5, max_ms=90.5
    )
    assert found["reads"].requests == CALLERS_REQUESTS


async def test_a_missed_threshold_is_an_outcome_and_no_failure(tmp_path: Path) -> None:
    found = await play(tmp_path, code=99, p95=100.5)
    assert not found["webhooks"].keeps(LIMITS)


@pytest.mark.parametrize(
    ("code", "p95", "said"),
    [
        (107, 2.5, "ended with 107"),
        (99, 2.5, "yet we find"),
        (0, 100.5, "yet we find"),
    ],
    ids=["it broke off", "it misses what we don't", "we miss what it doesn't"],
)
async def test_any_other_end_is_told_with_its_last_words(
    tmp_path: Path, code: int, p95: float, said: str
) -> None:
    with pytest.raises(K6Failed, match=said) as failed:
        await play(tmp_path, code=code, p95=p95)
    assert "k6's last words" in str(failed.value)
