"""All sections, in the order in which a run measures them."""

from tests.benchmarks import kafka_run, run

SECTIONS = (run.SECTION, kafka_run.SECTION)
