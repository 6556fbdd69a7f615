"""`payment-manager dlq list | show | replay | drop`: what can be said on the command line.

How to think about it: whatever changes something is rehearsed unless `--yes` stands there, and then
it needs a reason, which is kept with the actor's name. Exit codes: 0 done, 1 some could not be
done, 2 wrong usage or settings, or somebody needed is away. Like the command line's other commands,
these import what they work with when they are called.
"""

import getpass
import re
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from payment_manager.application.dead_letters import By, Chosen, DeadLetterTriage
    from payment_manager.application.ports import Handling, LetterId

Run: TypeAlias = "Callable[[Callable[[DeadLetterTriage], Coroutine[Any, Any, None]]], None]"

_ID = re.compile(r"(orders|disputes)/([0-9]{1,9})/([0-9]{1,18})")

Ids = Annotated[
    list[str] | None, typer.Argument(metavar="ID", help="Such as orders/3/17, from list.")
]
All = Annotated[bool, typer.Option("--all", help="All that are open.")]
ErrorClass = Annotated[
    str | None, typer.Option("--error-class", help="All open ones of this error class.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; else only told what would happen.")]
Reason = Annotated[str | None, typer.Option(help="Why; needed with --yes, and kept.")]
Actor = Annotated[str | None, typer.Option(help="Who; else the user of this system.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]


def dlq_commands(run: Run) -> typer.Typer:
    """`run` gives a command what it works with, and tells of what goes wrong."""
    app = typer.Typer(no_args_is_help=True, help="Webhooks that could not be applied.")

    @app.command("list")
    def list_(
        space: Annotated[
            str | None, typer.Argument(metavar="orders|disputes", help="Else both.")
        ] = None,
        everything: Annotated[
            bool, typer.Option("--all", help="Also those replayed and dropped.")
        ] = False,
        limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
        as_json: AsJson = False,
    ) -> None:
        """The oldest open letters, and how many there are of each error class."""
        from payment_manager.entrypoints.dlq import screen, work

        if space not in (None, *screen.SPACES):
            raise typer.BadParameter("say orders or disputes, or nothing for both")
        spaces = [each for name, each in screen.SPACES.items() if space in (None, name)]
        run(lambda triage: work.list_letters(triage, spaces, limit, everything, as_json))

    @app.command()
    def show(
        id: Annotated[str, typer.Argument(help="Such as orders/3/17, from list.")],
        as_json: AsJson = False,
    ) -> None:
        """All of one letter: headers, value and history. The value may hold personal data."""
        from payment_manager.entrypoints.dlq import work

        [letter_id] = _read_ids([id])
        run(lambda triage: work.show_letter(triage, letter_id, as_json))

    @app.command()
    def replay(
        ids: Ids = None,
        everything: All = False,
        error_class: ErrorClass = None,
        yes: Yes = False,
        reason: Reason = None,
        actor: Actor = None,
    ) -> None:
        """Give messages back, unchanged, to the topic that they came from.

        One that fails again comes back as a new letter, with one attempt more. With --all and
        --error-class, what is known to fail is left; named by its id, it is replayed.
        """
        from payment_manager.application.ports import Handling

        chosen = _chosen(ids, everything, error_class)
        _act(run, Handling.REPLAYED, chosen, _by(yes, reason, actor))

    @app.command()
    def drop(
        ids: Ids = None,
        everything: All = False,
        error_class: ErrorClass = None,
        yes: Yes = False,
        reason: Reason = None,
        actor: Actor = None,
    ) -> None:
        """Close letters that need nothing more. They stay in their topic, and in list --all."""
        from payment_manager.application.ports import Handling

        chosen = _chosen(ids, everything, error_class)
        _act(run, Handling.DROPPED, chosen, _by(yes, reason, actor))

    return app


def _act(run: Run, handling: "Handling", chosen: "Chosen", by: "By | None") -> None:
    from payment_manager.entrypoints.dlq import work

    run(lambda triage: work.act_on_letters(triage, handling, chosen, by))


def _chosen(ids: list[str] | None, everything: bool, error_class: str | None) -> "Chosen":
    from payment_manager.application.dead_letters import Chosen

    if [bool(ids), everything, error_class is not None].count(True) != 1:
        raise typer.BadParameter("say which: ids, or --all, or --error-class")
    return Chosen(frozenset(_read_ids(ids or [])), error_class)


def _read_ids(texts: list[str]) -> "list[LetterId]":
    from payment_manager.application.ports import LetterId
    from payment_manager.entrypoints.dlq import screen
    from payment_manager.entrypoints.terminal import printable

    found = {text: _ID.fullmatch(text) for text in texts}
    wrong = [printable(text, keep="\n") for text, parts in found.items() if parts is None]
    if wrong:
        raise typer.BadParameter(
            f"no ids of letters: {', '.join(wrong)}; an id is like orders/3/17, see list"
        )
    return [
        LetterId(screen.SPACES[parts[1]], int(parts[2]), int(parts[3]))
        for parts in found.values()
        if parts is not None
    ]


def _by(yes: bool, reason: str | None, actor: str | None) -> "By | None":
    from payment_manager.application.dead_letters import By

    if not yes:
        return None
    if reason is None:
        raise typer.BadParameter("say why: --reason TEXT")
    if actor is None:
        try:
            actor = getpass.getuser()
        except (OSError, KeyError):
            raise typer.BadParameter("this user has no name; say who: --actor NAME") from None
    for option, text in (("--reason", reason), ("--actor", actor)):
        if not 1 <= len(text.strip()) <= 1000 or not text.isprintable():
            raise typer.BadParameter(f"{option} must be 1 to 1000 printable characters, in a line")
    return By(actor.strip(), reason.strip())
