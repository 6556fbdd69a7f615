"""Which k6 is used, and what becomes of a build, with a Go of our own that compiles nothing."""

from pathlib import Path

import pytest

from infra.k6 import K6Missing, installed, k6, why_not

NEW = "echo 'k6 v1.8.1 (go1.26.8, linux/amd64)'"
OLD = "echo 'k6 v0.57.0 (commit/50afd82c18, go1.23.6, linux/amd64)'"
BUILDS = f"""printf '#!/bin/sh\\n%s\\n' "{NEW}" >"$GOBIN/k6"
/bin/chmod +x "$GOBIN/k6"
/bin/mkdir "$GOMODCACHE"
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on PATH, and nothing in the cache; gives the folder on PATH."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


def program(path: Path, name: str, does: str) -> Path:
    (path / name).write_text(f"#!/bin/sh\n{does}\n")
    (path / name).chmod(0o755)
    return path / name


def kept(machine: Path) -> list[str]:
    found = (machine.parent / "cache" / "payment-manager").glob("*")
    return sorted(each.name for each in found if each.suffix != ".lock")


def test_a_machine_without_k6_and_without_go_says_why(machine: Path) -> None:
    assert why_not() == "no k6 on PATH, and no Go to build v1.8.1 with"
    with pytest.raises(K6Missing, match="no Go"):
        k6()
    assert kept(machine) == []


def test_one_on_path_is_used_and_nothing_is_built(machine: Path) -> None:
    there = program(machine, "k6", NEW)
    assert why_not() is None
    assert installed() == there
    assert k6() == there
    assert kept(machine) == []


def test_one_on_path_that_is_too_old_or_does_not_run_is_passed_over(machine: Path) -> None:
    for says in (OLD, "exit 1", "echo something else"):
        program(machine, "k6", says)
        assert installed() is None


def test_what_go_builds_is_kept_and_what_go_fetched_is_not(machine: Path) -> None:
    program(machine, "go", BUILDS)
    assert why_not() is None
    assert installed() is None

    built = k6()
    assert installed() == built
    assert kept(machine) == ["k6-1.8.1"]

    program(machine, "go", "exit 1")
    assert k6() == built


def test_a_build_that_fails_tells_gos_words_and_leaves_nothing(machine: Path) -> None:
    program(machine, "go", "echo 'go: no route to the module proxy' >&2; exit 1")
    with pytest.raises(K6Missing, match="no route to the module proxy"):
        k6()
    assert kept(machine) == []
