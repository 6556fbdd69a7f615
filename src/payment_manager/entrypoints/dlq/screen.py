"""Dead letters on the screen: as tables and lines for people, as JSON for machines.

How to think about it: whoever may write to a topic may write anything, so no text of a letter comes
to the terminal as it is: what isn't printable is escaped, and nothing is taken for markup.
"""

import base64
from collections import Counter
from collections.abc import Sequence
from typing import Any, assert_never

import msgspec
import rich.table
import rich.text

from payment_manager.application.dead_letters import Listing, Shown, Step, Verdict
from payment_manager.application.ports import Handled, Handling, Letter, LetterId, Message, Space
from payment_manager.contracts.envelope import DEAD_LETTER_SUFFIX
from payment_manager.entrypoints.terminal import as_json, print_table, printable, time_of

NAMES = {Space.ORDER: "orders", Space.DISPUTE: "disputes"}
SPACES = {name: space for space, name in NAMES.items()}

_LINES_MAX = 50
"""Of one kind: of a thousand letters the first tell the story, and the number is told too."""


def id_of(id: LetterId) -> str:
    return f"{NAMES[id.space]}/{id.partition}/{id.offset}"


def _text(text: str) -> str:
    return printable(text, keep="\n")


# ── List ──────────────────────────────────────────────────────────────────────────────────────────


def print_listing(listing: Listing, with_closed: bool) -> None:
    total = listing.open.total()
    if listing.shown:
        table = rich.table.Table()
        for heading in ("id", "written", "error", "attempts", "order", "source"):
            table.add_column(heading, no_wrap=heading in ("id", "written", "attempts"))
        if with_closed:
            table.add_column("done")
        for shown in listing.shown:
            table.add_row(*map(_cell, _row(shown, with_closed)))
        print_table(table)
    if not total:
        print("no open dead letters")
    else:
        classes = Counter[str]()
        for (_, error_class), count in listing.open.items():
            classes[error_class] += count
        parts = ", ".join(f"{count:,} {_text(name)}" for name, count in classes.most_common())
        print(f"{total:,} open dead {_letters(total)}: {parts}")
    more = total + (listing.closed if with_closed else 0) - len(listing.shown)
    if more > 0:
        print(f"the oldest {len(listing.shown):,} are shown; {more:,} more: --limit")


def _row(shown: Shown, with_closed: bool) -> Sequence[str]:
    letter = shown.letter
    copies = f"\n{shown.copies} copies" if shown.copies > 1 else ""
    return (
        id_of(letter.id) + copies,
        time_of(letter.written_at, "seconds"),
        f"{letter.error_class}: {letter.error_message}",
        str(letter.attempts),
        shown.order_id or "",
        _source(letter),
        *(["\n".join(_deed(letter, done) for done in shown.past)] if with_closed else []),
    )


def _cell(text: str) -> rich.text.Text:
    return rich.text.Text(_text(text), overflow="fold")


def listing_as_json(listing: Listing) -> str:
    return as_json(
        {
            "letters": [_document(shown) for shown in listing.shown],
            "open": [
                {"space": NAMES[space], "error_class": error_class, "count": count}
                for (space, error_class), count in sorted(listing.open.items())
            ],
        }
    )


# ── Show ──────────────────────────────────────────────────────────────────────────────────────────


def print_letter(shown: Shown, message: Message, fault: str | None) -> None:
    letter = shown.letter
    facts = {
        "error": f"{letter.error_class}: {letter.error_message}",
        "attempts": str(letter.attempts),
        "failed": f"first {letter.first_failure}, last {letter.last_failure}",
        "written": time_of(letter.written_at),
        "source": _source(letter),
        "order": shown.order_id or "not readable",
        "now": f"would still fail: {fault}" if fault else "readable; a replay tells the rest",
        "key": _shown_bytes(message.key),
    }
    print(f"{id_of(letter.id)}, {shown.past[-1].handling if shown.past else 'open'}")
    for name, text in facts.items():
        print(f"  {name:9} {_text(text)}")
    print("headers")
    for header, value in message.headers:
        print(f"  {_text(header)}: {_shown_bytes(value)}")
    print("value")
    print(_shown_value(message.value))
    if shown.past:
        print("history")
    for done in shown.past:
        print(f"  {_text(_deed(letter, done))}")


def _shown_value(value: bytes | None) -> str:
    try:
        return _text(msgspec.json.format(value or b"", indent=2).decode())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _shown_bytes(value)


def _shown_bytes(value: bytes | None) -> str:
    if value is None:
        return "none"
    try:
        return _text(value.decode())
    except UnicodeDecodeError:
        return repr(value)


def letter_as_json(shown: Shown, message: Message, fault: str | None) -> str:
    value = message.value
    return as_json(
        {
            **_document(shown),
            "would_still_fail": fault,
            "key": None if message.key is None else message.key.decode("utf-8", "replace"),
            "headers": [
                {"name": name, "value": None if text is None else text.decode("utf-8", "replace")}
                for name, text in message.headers
            ],
            "value": None if value is None else value.decode("utf-8", "replace"),
            "value_base64": None if value is None else base64.b64encode(value).decode(),
        }
    )


def _document(shown: Shown) -> dict[str, Any]:
    letter = shown.letter
    return {
        "id": id_of(letter.id),
        "state": shown.past[-1].handling if shown.past else "open",
        "written_at": letter.written_at,
        "error_class": letter.error_class,
        "error_message": letter.error_message,
        "attempts": letter.attempts,
        "first_failure": letter.first_failure,
        "last_failure": letter.last_failure,
        "source_topic": letter.source_topic,
        "source_partition": letter.source_partition,
        "source_offset": letter.source_offset,
        "order_id": shown.order_id,
        "correlation_id": letter.correlation_id,
        "copies": shown.copies,
        "history": [
            {
                "action": done.handling,
                "actor": done.actor,
                "reason": done.reason,
                "at": done.at,
                "replayed_partition": done.replayed_to[0] if done.replayed_to else None,
                "replayed_offset": done.replayed_to[1] if done.replayed_to else None,
            }
            for done in shown.past
        ],
    }


# ── Replay and drop ───────────────────────────────────────────────────────────────────────────────


class Minutes:
    """Prints the steps as they come, the first of each kind, and at the end how many there were."""

    def __init__(self, handling: Handling, is_rehearsal: bool) -> None:
        self._handling = handling
        self._is_rehearsal = is_rehearsal
        self._counts: Counter[Verdict] = Counter()

    @property
    def all_done(self) -> bool:
        """Whether nothing was, or would be, left undone."""
        return not self._counts.keys() - {Verdict.READY, Verdict.DONE, Verdict.COPY}

    def add(self, step: Step) -> None:
        self._counts[step.verdict] += 1
        if self._counts[step.verdict] <= _LINES_MAX:
            print(_text(f"{_what(step)}: {_became(step, self._handling)}"))
        elif self._counts[step.verdict] == _LINES_MAX + 1:
            print("… and more of these")

    def close(self) -> None:
        if not self._counts:
            print("no open dead letters")
            return
        done = Verdict.READY if self._is_rehearsal else Verdict.DONE
        would = "would be " if self._is_rehearsal else ""
        copies = self._counts[Verdict.COPY]
        left = self._counts.total() - self._counts[done] - copies
        print(
            f"{self._counts[done]:,} {_letters(self._counts[done])} {would}{self._handling}"
            + (f", with {copies:,} copies" if copies else "")
            + (f"; {left:,} {would}left as they are" if left else "")
        )
        if self._is_rehearsal:
            print("nothing was changed: say --yes and --reason to do it")


def _what(step: Step) -> str:
    parts = [id_of(step.id)]
    if step.letter is not None:
        parts.append(step.letter.error_class)
    if step.order_id is not None:
        parts.append(f"order {step.order_id}")
    return ", ".join(parts)


def _became(step: Step, handling: Handling) -> str:
    letter, handled = step.letter, step.handled
    fails = f", and would still fail: {step.fault}" if step.fault else ""
    match step.verdict:
        case Verdict.READY:
            assert letter is not None
            to = f" to {_topic(letter)}" if handling is Handling.REPLAYED else ""
            return f"would be {handling}{to}{fails}"
        case Verdict.DONE:
            assert letter is not None
            assert handled is not None
            return f"{handling}{_place(letter, handled)}{fails}"
        case Verdict.COPY:
            return "a copy of one before, which goes with it"
        case Verdict.MISSING:
            return "there is no such letter"
        case Verdict.EARLIER:
            assert letter is not None
            assert handled is not None
            return f"already {_deed(letter, handled)}"
        case Verdict.UNREADABLE:
            return f"left, since it would still fail: {step.fault}"
        case Verdict.FAILED:
            return f"not {handling}: {step.fault}"
        case _:
            assert_never(step.verdict)


# ── Words ─────────────────────────────────────────────────────────────────────────────────────────


def _letters(count: int) -> str:
    return "letter" if count == 1 else "letters"


def _source(letter: Letter) -> str:
    return f"{letter.source_topic}/{letter.source_partition}/{letter.source_offset}"


def _topic(letter: Letter) -> str:
    """Where a replay gives the message back."""
    return letter.topic.removesuffix(DEAD_LETTER_SUFFIX)


def _place(letter: Letter, done: Handled) -> str:
    if done.replayed_to is None:
        return ""
    partition, offset = done.replayed_to
    return f" to {_topic(letter)}/{partition}/{offset}"


def _deed(letter: Letter, done: Handled) -> str:
    copy = " (as a copy)" if done.is_copy else ""
    place, at = _place(letter, done), time_of(done.at)
    return f"{done.handling}{place} by {done.actor} at {at}{copy}: {done.reason}"
