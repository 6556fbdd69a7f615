"""Java servers by Maven coordinates: which Java runs them, and their jars, fetched once a machine.

How to think about it: a server is a `pom.xml` that names what it needs and whose own version is the
server's. Maven copies those jars into a folder of that version, once a machine (`cached_folder`).
"""

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infra.cached_folder import cached_folder, path_of

JAVA_VERSION_MIN = 17
"""What Kafka 4 needs (its compatibility page)."""

_MAVEN_SECONDS_MAX = 300  # a first run fetches Maven's own plugins too, over a slow line
_MAVEN_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy-dependencies"


class JarsMissing(RuntimeError):
    """Maven couldn't fetch a server's jars; the message has its last words."""


@dataclass(frozen=True, slots=True)
class Java:
    program: Path
    version: int

    def class_archive(self, folder: Path, name: str) -> list[str]:
        """Flags that keep the loaded classes in `folder` at the first orderly stop, and map them at
        the next start, which halves it. Empty where this Java can't (before 19).
        """
        if self.version < 19:
            return []
        archive = folder / f"{name}-{self.version}.jsa"
        # The archive is a gain, never a must: Java says what it thinks of it only in its errors.
        return [
            "-Xlog:disable",
            "-Xlog:all=error:stderr",
            "-XX:+AutoCreateSharedArchive",
            f"-XX:SharedArchiveFile={archive}",
        ]


def why_no_java_server(pom: Path) -> str | None:
    """Why the server of `pom` can't run on this machine, in words; None where it can."""
    if find_java() is None:
        return f"no Java {JAVA_VERSION_MIN} or newer found (JAVA_HOME, /usr/lib/jvm, PATH)"
    if not path_of(_name(pom)).is_dir() and shutil.which("mvn") is None:
        return "no Maven (mvn) found on PATH to fetch the server's jars with"
    return None


@cache
def find_java() -> Java | None:
    """JAVA_HOME's, else the newest installed, else the one on PATH; None if all are too old."""
    home = os.environ.get("JAVA_HOME")
    installed = [_java(Path(release).parent) for release in Path("/usr/lib/jvm").glob("*/release")]
    newest_first = sorted(
        (java for java in installed if java), key=lambda java: java.version, reverse=True
    )
    for java in [_java(Path(home)) if home else None, *newest_first, _java_on_path()]:
        if java is not None and java.version >= JAVA_VERSION_MIN:
            return java
    return None


def jars(pom: Path) -> Path:
    """The folder with the jars that `pom` names, fetched if this machine hasn't got them yet.

    Raises JarsMissing.
    """
    return cached_folder(_name(pom), lambda folder: _fetch(pom, folder))


def _fetch(pom: Path, folder: Path) -> None:
    command = ["mvn", "-q", "-B", "-f", str(pom), _MAVEN_GOAL]
    command += ["-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
    try:
        maven = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_MAVEN_SECONDS_MAX,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise JarsMissing(f"Maven could not fetch what {pom} names: {error}") from error
    if maven.returncode != 0:
        raise JarsMissing(f"Maven could not fetch what {pom} names:\n{maven.stdout[-2000:]}")


def _name(pom: Path) -> str:
    """`kafka-4.3.1-0a1b2c3d`: another pom is another folder, even of the same version."""
    text = pom.read_text()
    version = re.search(r"<version>(.+?)</version>", text)
    assert version is not None, f"{pom} says no version"
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{pom.parent.name}-{version[1]}-{digest}"


def _java(home: Path) -> Java | None:
    program = home / "bin" / "java"
    try:
        said = re.search(r'^JAVA_VERSION="(\d+)', (home / "release").read_text(), re.MULTILINE)
    except OSError:
        return None
    return Java(program, int(said[1])) if said and os.access(program, os.X_OK) else None


def _java_on_path() -> Java | None:
    program = shutil.which("java")
    if program is None:
        return None
    # Asked, not read: on macOS a launcher of this name stands there, which may find nothing.
    said = subprocess.run([program, "-version"], capture_output=True, text=True).stderr
    version = re.search(r'version "(\d+)', said)
    return Java(Path(program), int(version[1])) if version else None
