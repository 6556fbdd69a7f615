"""Java programs for local servers: which java runs them, and their jars by Maven coordinates.

How to think about it: a folder with a pom.xml names what a server needs; `resolved` gives the
folder with those jars, which Maven fills once a machine and version. The jars lie in the user's
cache, outside the checkout; a folder appears there whole or not at all, whoever else is at it.
"""

import fcntl
import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

# Maven's first run fetches its own plugins, too; on a slow line that takes minutes.
RESOLVE_SECONDS_MAX = 600

# Where distributions put JDKs beside the one on PATH.
_JDKS = Path("/usr/lib/jvm")

_VERSION = re.compile(r'version "(?:1\.)?(\d+)')


class NoJars(RuntimeError):
    """The jars can't be had; the text says why and what to do."""


@functools.cache
def java(at_least: int) -> Path | None:
    """The first of JAVA_HOME, PATH and the installed JDKs that is new enough; None: none is."""
    home, on_path = os.environ.get("JAVA_HOME"), shutil.which("java")
    found = [Path(home, "bin/java")] if home else []
    found += [Path(on_path)] if on_path else []
    found += sorted(_JDKS.glob("*/bin/java"))
    return next((path for path in found if _feature_version(path) >= at_least), None)


def why_not(pom: Path, java_at_least: int) -> str | None:
    """Why a server of these jars can't be started on this machine; None where it can."""
    if java(java_at_least) is None:
        return f"no java {java_at_least} or newer: set JAVA_HOME, or install a JDK"
    if not _is_complete(cache_folder(pom), pom) and shutil.which("mvn") is None:
        return f"no Maven on PATH to fetch what {pom.parent.name}/pom.xml names: install it"
    return None


def cache_folder(pom: Path) -> Path:
    """Where its jars belong: named after the project's artifact and version."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    text = pom.read_text()
    name, version = (re.search(rf"<{tag}>([\w.-]+)<", text) for tag in ("artifactId", "version"))
    assert name, "a pom.xml begins with the project's own artifactId …"
    assert version, "… and version"
    return cache / "payment-manager" / f"{name[1]}-{version[1]}"


def resolved(pom: Path) -> Path:
    """The folder with the jars that `pom` names, fetched if need be. Blocks. Raises NoJars."""
    folder = cache_folder(pom)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # test processes start at once; one of them fetches
        if not _is_complete(folder, pom):
            _fetch(pom, folder)
    return folder


def _fetch(pom: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{folder.name}.") as temporary:
        jars = Path(temporary) / "jars"
        command = ["mvn", "--quiet", "--batch-mode", "--file", str(pom)]
        command += ["dependency:copy-dependencies", "-DincludeScope=runtime"]
        try:
            subprocess.run(
                [*command, f"-DoutputDirectory={jars}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=RESOLVE_SECONDS_MAX,
                check=True,
            )
        except FileNotFoundError:
            raise NoJars("no Maven on PATH: install it") from None
        except subprocess.TimeoutExpired:
            raise NoJars(f"Maven took longer than {RESOLVE_SECONDS_MAX} s for {pom}") from None
        except subprocess.CalledProcessError as error:
            raise NoJars(f"Maven could not fetch what {pom} names:\n{error.stdout}") from None
        shutil.copyfile(pom, jars / "pom.xml")
        shutil.rmtree(folder, ignore_errors=True)  # of another pom.xml with the same version
        jars.rename(folder)


def _is_complete(folder: Path, pom: Path) -> bool:
    """The pom.xml is copied in last: with it, all of its jars are there."""
    try:
        return (folder / "pom.xml").read_bytes() == pom.read_bytes()
    except FileNotFoundError:
        return False


def _feature_version(java_path: Path) -> int:
    """17 for 17.0.15, 8 for 1.8.0; 0 where it doesn't run."""
    try:
        ran = subprocess.run([java_path, "-version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    version = _VERSION.search(ran.stderr)
    return int(version[1]) if version else 0
