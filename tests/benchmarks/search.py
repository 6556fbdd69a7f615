"""Search: what bulks buy, how soon it knows, what it costs webhooks, and what it answers how fast.

How to think about it: four questions, each in a module of its own, one after the other, each with
databases and indices of its own. OpenSearch shares the machine with everything else; where its cost
to others is measured, it gives way to them.
"""

import asyncio

from infra.opensearch_server import why_not
from payment_manager.adapters.postgres.embedded import EmbeddedPostgres
from tests.benchmarks import calibration, search_asked, search_bulks, search_cost, search_lag
from tests.benchmarks.calibration import Machine
from tests.benchmarks.scale import SMOKE
from tests.benchmarks.search_server import DURABLE, HEAP, Node, running_opensearch
from tests.benchmarks.section import Asked, Section

METHOD = f"""
OpenSearch (heap {HEAP}, default durability) beside services with the embedded PostgreSQL,
durability on; all share the machine with the load's generator.

{search_bulks.METHOD.strip()}

{search_lag.METHOD.strip()}

{search_asked.METHOD.strip()}

{search_cost.METHOD.strip()}
"""


async def measure(asked: Asked) -> None:
    machine = Machine.here()  # before our own load
    async with running_opensearch(asked.folder / "opensearch") as node:
        await _calibrate(asked, machine, node)
        await search_bulks.measure(asked, node)
        await search_lag.measure(asked, node)
        await search_asked.measure(asked, node)
        if asked.scale is SMOKE:  # where nothing is measured, nobody has to give way
            await search_cost.measure(asked, node)
            return
    async with running_opensearch(asked.folder / "yielding", gives_way=True) as node:
        await search_cost.measure(asked, node)


async def _calibrate(asked: Asked, machine: Machine, node: Node) -> None:
    server = EmbeddedPostgres(asked.folder / "calibration")
    try:
        url = await server.start()
        table, durable = await asyncio.to_thread(calibration.machine_table, machine, url)
    finally:
        await server.stop()
    table.add("OpenSearch", await node.version())
    await node.ask("PUT", "/calibration", {})
    durability = await node.durability("calibration")
    table.add("index.translog.durability", durability)
    seconds = asked.scale.calibration_seconds
    calibration.add_speeds(table, asked.folder, seconds, "before the run")
    work = await asyncio.to_thread(calibration.fixed_work_ms_in_company)
    table.add("… while another process does the same", f"{work:.1f} ms")
    asked.findings.keep(table)
    calibration.check_durability(asked.findings, durable)
    asked.findings.bar(
        "OpenSearch's durability is on", DURABLE, durability.lower() == DURABLE, durability.lower()
    )


SECTION = Section("search", measure, why_not=why_not, title="Search", method=METHOD)
