"""A real WireMock of our own, with the stubs of Silvergate in infra/wiremock.

How to think about it: an object is one address for life, which `start` and `stop` may make come and
go. WireMock prints its port once it has it, so what answers there is what was started here.
It ends with the process that started it, whatever ends that one.

    RuntimeError
    └── WireMockServerError    it did not start (with the end of its log), or this machine can't
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Self

import httpx

from infra.java import JarsMissing, JavaServer
from infra.leash import Leash
from infra.local_server import free_port

STUBS = Path(__file__).parent / "wiremock"
WIREMOCK = JavaServer(STUBS / "pom.xml", java_version_min=17)

START_SECONDS_MAX = 60.0
"""A quiet machine takes one; other tests may have it meanwhile."""

STOP_SECONDS_MAX = 10.0
"""The first stop also writes the archive of classes."""

SIMULATOR_PORT = 3001
"""Where `payment-manager simulator` listens: whoever is set up for one finds the other."""

_POLL_SECONDS = 0.02

_JAVA_FLAGS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx192m")

_OPTIONS = (
    *("--bind-address", "127.0.0.1"),
    "--disable-banner",
    # A slow answer holds one of its few threads otherwise, and all others wait behind it.
    *("--async-response-enabled", "true"),
    # What came in, for people and tests (`/__admin/requests`); without a limit it fills the heap.
    *("--max-request-journal-entries", "1000"),
)

_PORT = re.compile(rb"^port: +\d+\n", re.MULTILINE)


class WireMockServerError(RuntimeError):
    """WireMock did not start; the message says why."""


def why_not() -> str | None:
    """Why no WireMock can run on this machine, in words; None where one can."""
    return WIREMOCK.why_not()


class WireMockServer:
    """WireMock with the mappings of `root`, on `port` or a free one. Not for several threads."""

    def __init__(self, root: Path = STUBS, port: int | None = None) -> None:
        self._root = root.resolve()
        self._port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._leash: Leash | None = None
        self._log: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers, the same at every start."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start it; it answers when this returns. Starting a live one changes nothing.

        Raises WireMockServerError, infra.java.JarsMissing.
        """
        if self.is_alive:
            return self
        self.stop()  # what is left of one that ended by itself
        java = WIREMOCK.java()
        if java is None:
            raise WireMockServerError(why_not())
        folder = WIREMOCK.jars()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # `stop` closes it
        self._process = subprocess.Popen(
            [
                java.program,
                *_JAVA_FLAGS,
                *java.class_archive(folder.parent, folder.name),
                *("-cp", f"{folder}/*", "wiremock.Run", *_OPTIONS),
                *("--port", str(self._port), "--root-dir", self._root),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C is for its owner, which stops it last
        )
        self._leash = Leash(self._process.pid)
        try:
            self._wait_until_up()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it in good order. Stopping a stopped one changes nothing."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._leash is not None:
            self._leash.drop()
        if self._log is not None:
            self._log.close()
        self._process = self._leash = self._log = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._is_up():
            if not self.is_alive or time.monotonic() > deadline:
                said = self._said().decode("utf-8", "replace").splitlines()
                raise WireMockServerError("WireMock did not start:\n" + "\n".join(said[-20:]))
            time.sleep(_POLL_SECONDS)

    def _is_up(self) -> bool:
        # Printed once it listens: before, another program may be what answers on a given port.
        if _PORT.search(self._said()) is None:
            return False
        try:
            return httpx.get(f"{self.url}/__admin/health", trust_env=False).is_success
        except httpx.TransportError:
            return False

    def _said(self) -> bytes:
        assert self._log is not None
        return os.pread(self._log.fileno(), 65_536, 0)  # the start; faults fill the rest


def main() -> None:
    """Until Ctrl-C or SIGTERM: `python -m infra.wiremock_server [PORT]`."""
    port = int(sys.argv[1]) if sys.argv[1:] else SIMULATOR_PORT
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with WireMockServer(port=port) as server:
            print(f"The stubs of Silvergate answer at {server.url}", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        return
    except (WireMockServerError, JarsMissing) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
