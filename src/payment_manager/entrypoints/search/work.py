"""The commands about search at work: ask, print, and say by the exit code how it went."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import rich.console
import rich.progress
import typer

from payment_manager.application import check_search
from payment_manager.application.build_search import BuildFailed, Progress
from payment_manager.application.ports import Unavailable
from payment_manager.entrypoints.search import screen
from payment_manager.entrypoints.search.tools import Tools


async def show_status(tools: Tools, as_json: bool) -> None:
    found = await check_search.status(tools.tail, tools.whole, tools.index, tools.rows, tools.clock)
    if as_json:
        print(screen.status_as_json(found))
    else:
        screen.print_status(found)
    if found.trouble:
        raise typer.Exit(1)


async def verify_search(tools: Tools, sample: int, as_json: bool) -> None:
    try:
        proof = await check_search.verify(tools.tail, tools.whole, tools.index, sample)
    except (check_search.NotBuilt, BuildFailed) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    if as_json:
        print(screen.proof_as_json(proof))
    else:
        screen.print_proof(proof)
    if proof.wrong:
        raise typer.Exit(1)


async def reindex(tools: Tools, as_json: bool) -> None:
    total = sum((await tools.rows()).values())
    try:
        with _bar(total) as on_progress:
            built = await tools.build.run("asked for", on_progress)
    except BuildFailed as error:
        print(error, file=sys.stderr)
        raise typer.Exit(1) from None
    except Unavailable as error:
        print(f"search was not built, what was there before answers: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    print(screen.built_as_json(built) if as_json else screen.built_words(built))


async def list_set_aside(tools: Tools, as_json: bool) -> None:
    checkpoint = await tools.tail.checkpoint()
    found = await tools.tail.rejects(checkpoint.build) if checkpoint else ()
    if as_json:
        print(screen.set_aside_as_json(found))
    else:
        screen.print_set_aside(found)


@contextmanager
def _bar(total: int) -> Iterator[Progress]:
    """`total`: about how many documents there will be."""
    done: dict[str, int] = {}
    with rich.progress.Progress(
        *rich.progress.Progress.get_default_columns(),
        rich.progress.MofNCompleteColumn(),
        console=rich.console.Console(stderr=True),
    ) as bar:
        task = bar.add_task("building", total=total or None)

        def tell(phase: str, amount: int) -> None:
            done[phase] = amount
            all_done = sum(done.values())
            bar.update(
                task, description=phase, completed=all_done, total=max(total, all_done) or None
            )

        yield tell
