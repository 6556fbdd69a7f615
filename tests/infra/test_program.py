"""A child process under a launcher: every line is shown, its end is told, and it never stays."""

from collections.abc import Sequence

import pytest

from infra.program import ProgramFailed, running


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


async def test_every_line_is_shown_the_last_one_without_an_end_too() -> None:
    shown: list[bytes] = []

    def show(lines: Sequence[bytes]) -> None:
        shown.extend(lines)

    async with running(
        "talker", shell('echo one; echo "$WORD" >&2; printf end'), {"WORD": "two"}, show
    ) as talker:
        with pytest.raises(ProgramFailed):
            await talker.ended()
    assert shown == [b"one", b"two", b"end"]


@pytest.mark.parametrize(
    ("script", "told", "exit_code"),
    [
        ("exit 3", "name ended by itself (exit code 3)", 3),
        ("exit 0", "name ended by itself (exit code 0)", 1),
        ("kill -9 $$", "name ended by itself (SIGKILL)", 1),
    ],
)
async def test_an_end_that_nobody_asked_for_is_told(script: str, told: str, exit_code: int) -> None:
    async with running("name", shell(script), {}, lambda _: None) as program:
        with pytest.raises(ProgramFailed) as failed:
            await program.ended()
    assert str(failed.value) == told
    assert failed.value.exit_code == exit_code


async def test_an_end_that_was_asked_for_is_no_failure() -> None:
    async with running("sleeper", ["sleep", "600"], {}, lambda _: None) as sleeper:
        await sleeper.stop()
        await sleeper.ended()
