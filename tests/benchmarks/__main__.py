"""`make benchmark`: start the real service, drive it over HTTP, and write down what was measured.

How to think about it: ratios within the run are bars and decide the exit code; absolute figures
depend on the machine, are aims, and are only told. The full run writes docs/benchmarks.md.
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

from tests.benchmarks.report import targets_table, write_page
from tests.benchmarks.run import PARTS, Run
from tests.benchmarks.scale import FULL, QUICK, SCALES, SMOKE
from tests.benchmarks.service import ServiceFailed

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "benchmarks.md"


def main(arguments: list[str] | None = None) -> int:
    given = _arguments(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160)
    began = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=_same_disk()) as folder:
        run = Run(
            SCALES[given.scale],
            set(given.only or PARTS),
            Path(folder),
            console,
            functions=given.profile,
        )
        gc.freeze()  # the generator must not pause to look through what was imported
        try:
            uvloop.run(run.everything())
        except ServiceFailed as failed:
            console.print(str(failed), style="red", markup=False)
            return 2
    targets = targets_table(run.targets)
    targets.show(console)
    if given.write or (given.scale == FULL.name and not given.only):
        minutes = (datetime.now(UTC) - began).total_seconds() / 60
        intro = (
            f"Measured on {began:%Y-%m-%d} at {began:%H:%M} UTC, at commit {_commit()}: the "
            f"{given.scale} run, {minutes:.0f} minutes."
        )
        write_page(PAGE, intro, [targets, *run.tables])
    missed = any(target.is_bar and not target.met for target in run.targets)
    return 1 if missed and not given.no_check else 0


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
        "--write", action="store_true", help=f"write docs/{PAGE.name}, as the full run always does"
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
