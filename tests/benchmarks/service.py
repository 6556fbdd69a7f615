"""A real service as a process of its own, with its own data folder, as `payment-manager api`.

How to think about it: nothing of the service is imported for a run; what is measured is what a user
starts. Its settings are the defaults, but for a free port, JSON logs into a file, and what the
comparison is about. When it has stopped, its exit code has been checked.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen
from urllib.parse import urlsplit
from urllib.request import urlopen

from payment_manager.adapters.postgres.embedded import running_url
from tests.benchmarks.cpu import CpuMeter
from tests.benchmarks.generator import Address

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.05

_CHECKOUT = Path(__file__).parents[2]

COMMAND = (str(Path(sys.executable).with_name("payment-manager")),)


class ServiceFailed(Exception):
    """It did not start or did not stop as it should; the end of its log is in the text."""


@dataclass(frozen=True, slots=True)
class Service:
    address: Address
    database_url: str
    meter: CpuMeter
    log: Path

    async def batches(self) -> tuple[float, float]:
        """How many webhooks were taken so far, in how many transactions."""
        url = f"http://{self.address.host}:{self.address.port}/metrics"
        text = await asyncio.to_thread(lambda: urlopen(url).read().decode())
        name = "payment_manager_webhook_batch_size"
        values = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(name))
        return float(values[f"{name}_sum"]), float(values[f"{name}_count"])


@asynccontextmanager
async def running_service(
    folder: Path,
    settings: Mapping[str, str],
    command: Sequence[str] = COMMAND,
    *,
    kind: str = "api",
) -> AsyncIterator[Service]:
    """`payment-manager api`, or another `kind`, in `folder`, ready; stopped at the end."""
    folder.mkdir(parents=True)
    log = folder / "service.log"
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
        "DATA_DIR": str(folder),
        "PORT": "0",
        "LOG_FORMAT": "json",
        # A round every ten minutes would hit one turn and not another; it has a section of its own.
        "MAINTENANCE": "off",
        # Nothing answers there: no benchmark asks the provider.
        "SILVERGATE_BASE_URL": "http://127.0.0.1:9",
        # The code of this checkout, wherever the installed package points.
        "PYTHONPATH": os.pathsep.join([str(_CHECKOUT / "src"), str(_CHECKOUT)]),
        **settings,
    }
    with log.open("wb") as output:
        # In a folder without a `.env`, and in a session of its own: Ctrl-C ends the harness, which
        # then stops the service.
        process = Popen(
            [*command, kind],
            cwd=folder,
            env=environment,
            stdin=DEVNULL,
            stdout=output,
            stderr=STDOUT,
            start_new_session=True,
        )
    try:
        yield await _ready(process, folder, log, settings.get("PG_URL"))
    finally:
        await _stopped(process, log)


@asynccontextmanager
async def running_bare_app() -> AsyncIterator[tuple[Address, CpuMeter]]:
    process = Popen(
        [sys.executable, "-m", "tests.benchmarks.bare_app"], stdout=PIPE, start_new_session=True
    )
    assert process.stdout is not None
    try:
        with process.stdout:
            port = int(await asyncio.to_thread(process.stdout.readline))
        yield Address("127.0.0.1", port), CpuMeter(process.pid)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, STOP_SECONDS_MAX)


async def _ready(process: Popen[bytes], folder: Path, log: Path, pg_url: str | None) -> Service:
    deadline = asyncio.get_running_loop().time() + START_SECONDS_MAX
    while (url := _listening_at(log)) is None:
        if process.poll() is not None or asyncio.get_running_loop().time() > deadline:
            raise ServiceFailed(f"the service did not start:\n{_tail(log)}")
        await asyncio.sleep(_POLL_SECONDS)
    # An answer: it not only listens, it has set up its signals too, and can be stopped.
    await asyncio.to_thread(lambda: urlopen(f"{url}/health/ready", timeout=10).read())  # noqa: S310
    at = urlsplit(url)
    assert at.hostname is not None
    assert at.port is not None
    address = Address(at.hostname, at.port)
    if pg_url is not None:
        return Service(address, pg_url, CpuMeter(process.pid), log)
    database_url = running_url(folder)
    assert database_url is not None  # it listens, so its database runs
    postmaster = (folder / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0]
    return Service(address, database_url, CpuMeter(process.pid, int(postmaster)), log)


def _listening_at(log: Path) -> str | None:
    for line in log.read_text().splitlines():
        if '"listening"' in line and (url := json.loads(line).get("url")):
            return str(url)
    return None


async def _stopped(process: Popen[bytes], log: Path) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    code = await asyncio.to_thread(process.wait, STOP_SECONDS_MAX)
    # Another failure is told first; this one must not hide it.
    if code != 0 and sys.exc_info()[0] is None:
        raise ServiceFailed(f"the service ended with {code}:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
