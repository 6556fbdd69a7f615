"""`make benchmark`: start the real service, drive it over HTTP, and write down what was measured.

How to think about it: ratios within the run are bars and decide the exit code; absolute figures
depend on the machine, are aims, and are only told. docs/benchmarks.md has a part for each section
of sections.py; a full run writes those of which it measured everything.
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

from tests.benchmarks.by_k6 import K6Failed
from tests.benchmarks.report import Findings
from tests.benchmarks.scale import FULL, QUICK, SCALES, SMOKE
from tests.benchmarks.section import Asked, Section
from tests.benchmarks.sections import SECTIONS
from tests.benchmarks.service import ServiceFailed

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "benchmarks.md"
PARTS = [part for section in SECTIONS for part in section.only]


def main(arguments: list[str] | None = None) -> int:
    given = _arguments(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160)
    wanted = set(given.only or PARTS)
    gc.freeze()  # the generator must not pause to look through what was imported
    missed = False
    for section in SECTIONS:
        asked = wanted.intersection(section.only)
        if not asked:
            continue
        if reason := section.why_not():
            console.print(f"{section.name} is left out: {reason}", style="red", markup=False)
            continue
        findings, began = Findings(section.name, console), datetime.now(UTC)
        try:
            _measure(given, section, asked, findings, console)
        except (K6Failed, ServiceFailed) as failed:
            console.print(str(failed), style="red", markup=False)
            return 2
        findings.verdicts().show(console)
        missed |= findings.missed
        is_whole = given.scale == FULL.name and asked == set(section.only)
        if given.write or (given.write is None and is_whole):
            findings.write(PAGE, [section.words, _intro(began, given.scale)])
    return 1 if missed and not given.no_check else 0


def _measure(
    given: argparse.Namespace,
    section: Section,
    parts: set[str],
    findings: Findings,
    console: Console,
) -> None:
    scale = SCALES[given.scale]
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=_same_disk()) as name:
        asked = Asked(scale, parts, Path(name), console, findings, given.profile)
        uvloop.run(section.measure(asked))


def _intro(began: datetime, scale: str) -> str:
    minutes = (datetime.now(UTC) - began).total_seconds() / 60
    return (
        f"Measured on {began:%Y-%m-%d} at {began:%H:%M} UTC, at commit {_commit()}: the "
        f"{scale} run, {minutes:.0f} minute{'' if round(minutes) == 1 else 's'}."
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
        "--write",
        action=argparse.BooleanOptionalAction,
        help=f"write docs/{PAGE.name}; if not said, a whole section of the full run is written",
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
