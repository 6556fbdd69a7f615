"""Java servers: which Java is good enough for whom, and what is told where none is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from infra import java
from infra.java import Java, JavaServer
from infra.kafka_server import KAFKA
from infra.opensearch_server import OPENSEARCH

Installed = Callable[..., None]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Installed:
    """Sets which versions this machine has, in the order in which they are preferred."""

    def install(*versions: int, with_compiler: bool = True) -> None:
        found = []
        for version in versions:
            programs = tmp_path / str(version) / "bin"
            programs.mkdir(parents=True)
            for name in ("java", *(["javac"] if with_compiler else [])):
                (programs / name).touch(mode=0o755)
            found.append(Java(programs / "java", version))
        monkeypatch.setattr(java, "_javas", lambda: tuple(found))

    return install


@pytest.fixture
def nothing_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_each_server_takes_the_first_java_that_is_new_enough_for_it(installed: Installed) -> None:
    installed(17, 25, 21)
    found = {server.pom.parent.name: server.java() for server in (KAFKA, OPENSEARCH)}
    assert {name: java and java.version for name, java in found.items()} == {
        "kafka": 17,
        "opensearch": 25,
    }


def test_what_is_missing_is_named(
    installed: Installed,
    nothing_fetched: None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    installed(17)
    assert "no Java 21 or newer found" in str(OPENSEARCH.why_not())
    maven = tmp_path / "programs" / "mvn"
    maven.parent.mkdir()
    monkeypatch.setenv("PATH", str(maven.parent))
    assert "no Maven (mvn) found" in str(KAFKA.why_not())
    maven.touch(mode=0o755)
    assert KAFKA.why_not() is None


def test_a_java_without_a_compiler_is_enough_until_something_is_to_be_compiled(
    installed: Installed, nothing_fetched: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(21, with_compiler=False)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert KAFKA.why_not() is None
    assert "a JDK is needed" in str(OPENSEARCH.why_not())


def test_another_source_is_another_folder(tmp_path: Path) -> None:
    pom, source = tmp_path / "pom.xml", tmp_path / "Main.java"
    pom.write_text("<version>1.2</version>")
    names = set()
    for text in ("class Main {}", "class Main { int changed; }"):
        source.write_text(text)
        names.add(JavaServer(pom, 17, source)._name())
    assert len(names) == 2
    assert all(name.startswith(f"{tmp_path.name}-1.2-") for name in names)
