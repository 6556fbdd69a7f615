"""The harness itself, at its smallest: it goes everywhere and measures nothing worth knowing.

The sections about large logs and about search take seconds and belong to `make check`, so that
whoever changes a table learns here that a history is written otherwise now.
"""

import pytest

from infra import kafka_server, opensearch_server
from tests.benchmarks import kafka_run, large_log, large_write, load, run, search
from tests.benchmarks.__main__ import main
from tests.benchmarks.section import Section

SMALLEST = ["--smoke", "--no-check"]


@pytest.mark.benchmark
def test_the_harness_runs_through_and_finds_every_answer_right() -> None:
    parts = [f"--only={part}" for part in run.SECTION.parts]
    assert main([*SMALLEST, *parts]) == 0


@pytest.mark.benchmark
@pytest.mark.timeout(600)  # ten services are started and stopped
def test_kafka_modes_part_runs_through_and_finds_every_webhook_in_the_log() -> None:
    reason = kafka_server.why_not()
    if reason is not None:
        pytest.skip(f"no Kafka on this machine: {reason}")
    assert main([*SMALLEST, f"--only={kafka_run.SECTION.name}"]) == 0


@pytest.mark.integration
@pytest.mark.timeout(600)  # seconds; but services start, and a busy machine takes its time
@pytest.mark.parametrize(
    "section",
    [large_write.SECTION, large_log.SECTION, load.SECTION],
    ids=lambda section: section.name,
)
def test_a_section_on_a_large_log_runs_through(section: Section) -> None:
    assert main([*SMALLEST, f"--only={section.name}"]) == 0


@pytest.mark.integration
@pytest.mark.timeout(600)
def test_the_section_about_search_runs_through() -> None:
    reason = opensearch_server.why_not()
    if reason is not None:
        pytest.skip(f"no OpenSearch on this machine: {reason}")
    assert main([*SMALLEST, f"--only={search.SECTION.name}"]) == 0
