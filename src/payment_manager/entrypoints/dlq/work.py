"""The commands about dead letters at work: ask, print, and say by the exit code how it went."""

from collections.abc import Sequence
from contextlib import aclosing

import typer

from payment_manager.application.dead_letters import By, Chosen, DeadLetterTriage
from payment_manager.application.ports import Handling, LetterId, Space
from payment_manager.entrypoints.dlq import screen


async def list_letters(
    triage: DeadLetterTriage, spaces: Sequence[Space], limit: int, everything: bool, as_json: bool
) -> None:
    listing = await triage.listing(spaces, limit, everything)
    if as_json:
        print(screen.listing_as_json(listing))
    else:
        screen.print_listing(listing, everything)


async def show_letter(triage: DeadLetterTriage, id: LetterId, as_json: bool) -> None:
    found = await triage.letter(id)
    if found is None:
        print(f"{screen.id_of(id)}: there is no such letter")
        raise typer.Exit(1)
    shown, message = found
    fault = triage.fault(message, id.space)
    if as_json:
        print(screen.letter_as_json(shown, message, fault))
    else:
        screen.print_letter(shown, message, fault)


async def act_on_letters(
    triage: DeadLetterTriage, handling: Handling, chosen: Chosen, by: By | None
) -> None:
    minutes = screen.Minutes(handling, is_rehearsal=by is None)
    async with aclosing(triage.act(handling, chosen, by)) as steps:
        async for step in steps:
            minutes.add(step)
    minutes.close()
    if not minutes.all_done:
        raise typer.Exit(1)
