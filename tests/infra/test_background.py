"""The keeper of what runs in the background: never taken for another, nor another for it."""

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.background import BackgroundFailed, Keeper, settings_of_running, stop


def test_what_a_dead_keeper_told_is_gone_before_the_next_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = {"pid": 4711, "settings": {"KAFKA_BROKERS": "of a dead one"}}
    (tmp_path / "infrastructure.json").write_text(json.dumps(left))
    seen: list[Mapping[str, str] | None] = []
    flock = fcntl.flock

    def looked_at(fd: int, how: int) -> None:
        flock(fd, how)
        if how & fcntl.LOCK_EX:
            seen.append(settings_of_running(tmp_path))

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", looked_at)
        keeper = Keeper(tmp_path)
    assert seen == [None]

    keeper.announce({"KAFKA_BROKERS": "here"})
    assert settings_of_running(tmp_path) == {"KAFKA_BROKERS": "here"}


def test_a_second_keeper_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    first = Keeper(tmp_path)
    first.announce({"A": "1"})
    with pytest.raises(BackgroundFailed, match="another keeper"):
        Keeper(tmp_path)
    assert settings_of_running(tmp_path) == {"A": "1"}


def test_where_none_lives_there_is_nothing_to_stop(tmp_path: Path) -> None:
    assert not stop(tmp_path)
