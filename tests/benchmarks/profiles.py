"""Where the service's CPU goes, layer by layer, sampled in runs of their own."""

import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

from rich.console import Console

from tests.benchmarks.generator import closed_loop
from tests.benchmarks.report import Table
from tests.benchmarks.service import Service, running_service

CONNECTIONS = 64


class Profiles:
    """One table for all loads that were sampled: a column each."""

    def __init__(self, console: Console, functions: bool, title: str, note: str = "") -> None:
        self._console = console
        self._title = title
        self._note = note
        self._functions = functions
        self._loads: dict[str, dict[str, float]] = {}

    async def sample(
        self,
        load: str,
        folder: Path,
        settings: Mapping[str, str],
        drive: Callable[[Service], Awaitable[object]],
        *,
        kind: str = "api",
    ) -> None:
        """Of a service of its own, while `drive` keeps it busy."""
        out = folder.with_suffix(".json")
        command = (sys.executable, "-m", "tests.benchmarks.sampled", str(out))
        async with running_service(folder, settings, command, kind=kind) as service:
            os.kill(service.meter.service, signal.SIGUSR1)
            await drive(service)
        samples = json.loads(out.read_text())
        total = sum(count for _, count in samples["layers"]) or 1
        self._loads[load] = {layer: count / total for layer, count in samples["layers"]}
        if self._functions:
            self._show(f"{load}: innermost functions", samples["own"], total)
            self._show(f"{load}: functions with all they call", samples["under"], total)

    def table(self) -> Table:
        table = Table(
            self._title,
            ("layer", *self._loads),
            note="Sampled every two milliseconds of its CPU time, in runs of their own. Libraries "
            f"in C count for whoever called them.{self._note}",
        )
        layers = {layer for shares in self._loads.values() for layer in shares}
        columns = list(self._loads.values())
        for layer in sorted(layers, key=lambda one: -columns[0].get(one, 0.0)):
            table.add(layer, *(f"{shares.get(layer, 0.0):.1%}" for shares in columns))
        return table

    def _show(self, title: str, found: list[tuple[str, int]], total: int) -> None:
        table = Table(title, ("function", "share"))
        for function, count in found[:60]:
            table.add(function, f"{count / total:.1%}")
        table.show(self._console)


async def ask(service: Service, requests: Iterator[bytes], seconds: float) -> None:
    """Keep it busy over HTTP."""
    await closed_loop(
        service.address,
        requests,
        service.meter,
        connections=CONNECTIONS,
        seconds=seconds,
        warm_up_seconds=0.0,
    )
