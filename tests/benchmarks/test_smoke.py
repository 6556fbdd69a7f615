"""The harness itself, at its smallest: it goes everywhere and measures nothing worth knowing."""

import pytest

from tests.benchmarks.__main__ import main


@pytest.mark.benchmark
def test_the_harness_runs_through_and_finds_every_answer_right() -> None:
    assert main(["--smoke", "--no-check"]) == 0
