"""Java servers by Maven coordinates: which Java runs them, and their jars, fetched once a machine.

How to think about it: a server is a `pom.xml` that names what it needs and whose own version is the
server's. Maven copies those jars into a folder of that version, once a machine (`cached_folder`).
A server that comes without a main class has one of ours, compiled into a jar beside the others.
"""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infra.cached_folder import alone, cached_folder, path_of

# Collected by one thread: such a server shares few cores with its clients.
_JAVA_FLAGS = ("-XX:+UseSerialGC",)

# Compiled quickly rather than best. Measured with Kafka on two cores: up in 1.0 s instead of 1.5,
# and a third less processor time over the first 50,000 messages; from then on a fifth more, and
# slower answers.
_QUICK_FLAGS = ("-XX:TieredStopAtLevel=1",)

_MAVEN_SECONDS_MAX = 300  # a first run fetches Maven's own plugins too, over a slow line
_MAVEN_GOAL = "org.apache.maven.plugins:maven-dependency-plugin:3.9.0:copy-dependencies"


class JarsMissing(RuntimeError):
    """A server's jars couldn't be fetched or made; the message has the last words of who tried."""


@dataclass(frozen=True, slots=True)
class Java:
    program: Path
    version: int

    @property
    def compiler(self) -> Path:
        return self.program.resolve().with_name("javac")

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


@dataclass(frozen=True, slots=True)
class JavaServer:
    pom: Path
    java_version_min: int
    source: Path | None = None
    """A class of our own that starts it."""

    @property
    def version(self) -> str:
        """The server's own."""
        version = re.search(r"<version>(.+?)</version>", self.pom.read_text())
        assert version is not None, f"{self.pom} says no version"
        return version[1]

    def java(self) -> Java | None:
        """JAVA_HOME's, else the newest installed, else the one on PATH; None if all are too old."""
        fit = (java for java in _javas() if java.version >= self.java_version_min)
        return next(fit, None)

    def why_not(self) -> str | None:
        """Why this server can't run on this machine, in words; None where it can."""
        java = self.java()
        if java is None:
            at = "JAVA_HOME, /usr/lib/jvm, PATH"
            return f"no Java {self.java_version_min} or newer found ({at})"
        if path_of(self._name()).is_dir():
            return None
        if shutil.which("mvn") is None:
            return "no Maven (mvn) found on PATH to fetch the server's jars with"
        if self.source is not None and not java.compiler.exists():
            return f"no compiler (javac) beside {java.program}: a JDK is needed, not a JRE"
        return None

    def jars(self) -> Path:
        """The folder with its jars, fetched if this machine hasn't got them yet.

        Raises JarsMissing.
        """
        return cached_folder(self._name(), self._fill)

    def command(
        self,
        main: str,
        *arguments: str,
        heap: str,
        long_running: bool = False,
        flags: Sequence[str] = (),
    ) -> list[str]:
        """What runs this class. `long_running`: slower to start, faster once it is warm.

        Raises JarsMissing.
        """
        java = self.java()
        assert java is not None, "asked for without looking whether it can run"
        jars = self.jars()
        name = f"{jars.name}-{main.rpartition('.')[2].lower()}{'-long' if long_running else ''}"
        return [
            str(java.program),
            *_JAVA_FLAGS,
            *(() if long_running else _QUICK_FLAGS),
            f"-Xmx{heap}",
            *flags,
            *java.class_archive(jars.parent, name),
            *("-cp", f"{jars}/*", main),
            *arguments,
        ]

    def _fill(self, folder: Path) -> None:
        with alone("maven"):  # what two of them fetch at once, one may find half written
            _fetch(self.pom, folder)
        if self.source is not None:
            java = self.java()
            if java is None:
                raise JarsMissing(self.why_not())
            _compile(self.source, java, self.java_version_min, folder)

    def _name(self) -> str:
        """`kafka-4.3.1-0a1b2c3d`: another pom is another folder, even of the same version."""
        made_of = self.pom.read_bytes() + (self.source.read_bytes() if self.source else b"")
        digest = hashlib.sha256(made_of).hexdigest()[:8]
        return f"{self.pom.parent.name}-{self.version}-{digest}"


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


def _compile(source: Path, java: Java, release: int, folder: Path) -> None:
    """Put `source`'s classes into a jar: of a folder of classes, Java keeps no archive."""
    with tempfile.TemporaryDirectory() as classes:
        compiler = subprocess.run(
            # Quiet about what the jars' own annotations refer to, which isn't there at run time.
            [
                *(str(java.compiler), "-proc:none", "-nowarn", "-Xlint:-classfile"),
                *("--release", str(release), "-cp", f"{folder}/*", "-d", classes, str(source)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if compiler.returncode != 0:
            raise JarsMissing(f"{source} could not be compiled:\n{compiler.stdout[-2000:]}")
        with zipfile.ZipFile(folder / f"{source.stem}.jar", "w") as jar:
            for file in sorted(Path(classes).iterdir()):
                jar.write(file, file.name)


@cache
def _javas() -> tuple[Java, ...]:
    """In the order in which they are preferred."""
    home = os.environ.get("JAVA_HOME")
    installed = [_java(Path(release).parent) for release in Path("/usr/lib/jvm").glob("*/release")]
    newest_first = sorted(
        (java for java in installed if java), key=lambda java: java.version, reverse=True
    )
    found = [_java(Path(home)) if home else None, *newest_first, _java_on_path()]
    return tuple(java for java in found if java)


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
