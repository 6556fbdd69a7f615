"""`make benchmark`: start the real service, drive it over HTTP, and write down what was measured.

How to think about it: ratios within the run are bars and decide the exit code; absolute figures
depend on the machine, are aims, and are only told. docs/benchmarks.md has two sections, sync mode
and Kafka mode; the full run writes those of which it measured every part.
"""

import argparse
import gc
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from rich.console import Console

from infra.kafka_server import why_not
from tests.benchmarks import kafka_run, run
from tests.benchmarks.report import Findings
from tests.benchmarks.scale import FULL, QUICK, SCALES, SMOKE
from tests.benchmarks.service import ServiceFailed

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "benchmarks.md"
KAFKA = "kafka"
PARTS = (*run.PARTS, KAFKA)


def main(arguments: list[str] | None = None) -> int:
    given = _arguments(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160)
    wanted = set(given.only or PARTS)
    reason = why_not() if KAFKA in wanted else None
    if reason is not None:
        console.print(f"Kafka mode is left out: {reason}", style="red", markup=False)
    gc.freeze()  # the generator must not pause to look through what was imported
    missed = False
    for section, parts in {run.SECTION: run.PARTS, kafka_run.SECTION: (KAFKA,)}.items():
        asked = wanted.intersection(parts)
        if not asked or (section == kafka_run.SECTION and reason is not None):
            continue
        findings, began = Findings(section, console), datetime.now(UTC)
        try:
            _measure(given, findings, asked, console)
        except ServiceFailed as failed:
            console.print(str(failed), style="red", markup=False)
            return 2
        findings.verdicts().show(console)
        missed |= findings.missed
        if given.write or (given.scale == FULL.name and asked == set(parts)):
            findings.write(PAGE, _intro(began, given.scale))
    return 1 if missed and not given.no_check else 0


def _measure(
    given: argparse.Namespace, findings: Findings, parts: set[str], console: Console
) -> None:
    scale = SCALES[given.scale]
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=_same_disk()) as name:
        folder, functions = Path(name), given.profile
        if findings.section == kafka_run.SECTION:
            kafka = kafka_run.KafkaRun(scale, folder, console, findings, functions=functions)
            uvloop.run(kafka.everything())
        else:
            sync = run.Run(scale, parts, folder, console, findings, functions=functions)
            uvloop.run(sync.everything())


def _intro(began: datetime, scale: str) -> str:
    minutes = (datetime.now(UTC) - began).total_seconds() / 60
    return (
        f"Measured on {began:%Y-%m-%d} at {began:%H:%M} UTC, at commit {_commit()}: the "
        f"{scale} run, {minutes:.0f} minutes."
    )


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    scale = parser.add_argument
    scale(
        "--quick", dest="scale", action="store_const", const=QUICK.name, default=FULL.name,
        help="one to two minutes; the figures are rougher",
    )  # fmt: skip
    scale(
        "--smoke", dest="scale", action="store_const", const=SMOKE.name,
        help="seconds; proves that the harness works, measures nothing",
    )  # fmt: skip
    parser.add_argument("--only", choices=PARTS, action="append", help="this part; may repeat")
    parser.add_argument("--profile", action="store_true", help="show the sampled functions too")
    parser.add_argument("--no-check", action="store_true", help="a missed bar is no failure")
    parser.add_argument(
        "--write", action="store_true", help=f"write docs/{PAGE.name}, as the full run does"
    )
    return parser.parse_args(arguments)


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "src")
        return git("rev-parse", "--short", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _same_disk() -> Path:
    """Beside the service's own data: a temporary folder may be memory, with nothing to flush."""
    folder = CHECKOUT / ".data"
    folder.mkdir(exist_ok=True)
    return folder


if __name__ == "__main__":
    sys.exit(main())
