"""All sections, in the order in which a run measures them."""

from tests.benchmarks import kafka_run, large_log, large_write, load, maintenance, run, search

SECTIONS = (
    run.SECTION,
    kafka_run.SECTION,
    large_write.SECTION,
    large_log.SECTION,
    load.SECTION,
    maintenance.SECTION,
    search.SECTION,
)
