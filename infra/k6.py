"""k6, the load generator (k6.io): this machine's own, or built here once with Go.

How to think about it: `k6()` is a path to a program that runs, whatever it took to get one. What a
build fetched and compiled, some gigabytes, is gone afterwards; the program stays in the user's
cache.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.cached_folder import cached_folder, path_of

VERSION = "v1.8.1"
MODULE = "go.k6.io/k6"

OLDEST_MAJOR = 1
"""Of one found on PATH: what the scripts in tests/benchmarks/k6 are written for."""

_BUILD_SECONDS_MAX = 1800
"""One processor takes five minutes; a busy one may take several times that."""

_FOLDER = f"k6-{VERSION.removeprefix('v')}"

_VERSION = re.compile(r"^k6 v(\d+)\.")


class K6Missing(RuntimeError):
    """No k6 here and it couldn't be built; the message has Go's last words."""


def why_not() -> str | None:
    """Why no k6 can run on this machine, in words; None where one can, if only after a build."""
    if installed() is None and shutil.which("go") is None:
        return f"no k6 on PATH, and no Go to build {VERSION} with"
    return None


def installed() -> Path | None:
    """The one on PATH, else the one that was built before; None if neither is there."""
    on_path = shutil.which("k6")
    if on_path is not None and _fits(Path(on_path)):
        return Path(on_path)
    built = path_of(_FOLDER) / "k6"
    return built if built.is_file() else None


def k6() -> Path:
    """One that runs; built if need be, which takes minutes, once a machine. Raises K6Missing."""
    return installed() or cached_folder(_FOLDER, _build) / "k6"


def version(program: Path) -> str:
    """`k6 v1.8.1`; empty if the program doesn't say."""
    try:
        said = subprocess.run([program, "version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return " ".join(said.stdout.split()[:2])


def _fits(program: Path) -> bool:
    found = _VERSION.match(version(program))
    return found is not None and int(found[1]) >= OLDEST_MAJOR


def _build(folder: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise K6Missing(why_not())
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.go.", dir=folder.parent) as work:
        # One package at a time, for whatever else this machine does meanwhile; module files that
        # may be written can be deleted.
        command = [go, "install", "-p", "1", "-trimpath", "-modcacherw", "-ldflags=-s -w"]
        environment = {
            **os.environ,
            "CGO_ENABLED": "0",
            "GOBIN": str(folder),
            "GOMODCACHE": f"{work}/modules",
            "GOCACHE": f"{work}/objects",
            "GOTMPDIR": work,
        }
        try:
            built = subprocess.run(
                [*command, f"{MODULE}@{VERSION}"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=_BUILD_SECONDS_MAX,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise K6Missing(f"{MODULE}@{VERSION} could not be built: {error}") from error
        if built.returncode != 0 or not _fits(folder / "k6"):
            raise K6Missing(f"{MODULE}@{VERSION} could not be built:\n{built.stdout[-2000:]}")


if __name__ == "__main__":
    try:
        print(k6())
    except K6Missing as error:
        sys.exit(str(error))
