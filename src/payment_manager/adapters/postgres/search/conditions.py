"""What is sought, as conditions of a statement.

How to think about it: a condition is put together from fixed fragments and names of values, never
from what was sent. A word of a dispute is found in its reason or in one of its ids. Reasons are
few, so their words are made in Python, where letters beyond ASCII have their lower case; ids are
ASCII, where the server's idea of a word is the same.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from payment_manager.adapters.postgres.read_model import Parameters
from payment_manager.adapters.postgres.statements import SQL
from payment_manager.application.ports import DisputesSought, Place, Word
from payment_manager.application.search_terms import AMOUNT_RANGES
from payment_manager.domain.currencies import MINOR_UNITS

RANGES = tuple(AMOUNT_RANGES)

_USUAL_UNITS = 2

AMOUNT_RANGE = {
    # Lists, which the server looks a code up in by hashing.
    "units": " ".join(
        "WHEN d.currency IN ({}) THEN {}".format(
            ", ".join(f"'{code}'" for code in codes), 10**exponent
        )
        for exponent in sorted({*MINOR_UNITS.values()} - {_USUAL_UNITS})
        for codes in [[code for code in MINOR_UNITS if MINOR_UNITS[code] == exponent]]
    ),
    "bounds": ", ".join(str(begin) for begin, _ in AMOUNT_RANGES.values()),
}
"""What the fragment `search_amount_range` names."""

_DISPUTED_AT = "coalesce(d.opened_at, d.first_event_at)"

# A user's and a submission's ids stand elsewhere; what matches there is looked up once.
_OF_USER = "SELECT o.order_id FROM orders AS o WHERE {}"
_OF_SUBMISSION = (
    "SELECT s.order_id FROM provider_intents AS s"
    " WHERE s.space = 'dispute' AND s.status = 'success' AND {}"
)


class Conditions:
    """All of which must hold; as text they are SQL, and `values` what it names."""

    def __init__(self) -> None:
        self.values: Parameters = {}
        self._texts: list[str] = []

    def __str__(self) -> str:
        return " AND ".join(self._texts) or "true"

    def add(self, text: str, **values: Any) -> None:
        self._texts.append(text)
        self.values |= values

    def any(self, column: str, name: str, wanted: Sequence[Any]) -> None:
        if wanted:
            self.add(f"{column} = ANY(%({name})s)", **{name: [*map(_plain, wanted)]})

    def beyond(self, after: Place | None) -> None:
        if after is not None:
            self.add(
                "(d.first_event_at, d.dispute_id) < (%(after_time)s, %(after_id)s::uuid)",
                after_time=after[0],
                after_id=after[1],
            )


def of_disputes(sought: DisputesSought, reasons_with: Mapping[Word, Sequence[str]]) -> Conditions:
    """`reasons_with`: the reasons that have a word, for each that is sought."""
    conditions = Conditions()
    conditions.any("d.status", "statuses", sought.statuses)
    conditions.any("d.reason", "reasons_asked", sought.reasons)
    conditions.any("d.currency", "currencies", sought.currencies)
    conditions.any("d.order_id", "order_ids", sought.order_ids)
    months = [datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC) for month in sought.months]
    conditions.any(f"date_trunc('month', {_DISPUTED_AT})", "months", months)
    places = [RANGES.index(name) + 1 for name in sought.amount_ranges]
    conditions.any(SQL["search_amount_range"].format(**AMOUNT_RANGE), "amount_ranges", places)
    if sought.time_from is not None:
        conditions.add(f"{_DISPUTED_AT} >= %(time_from)s", time_from=sought.time_from)
    if sought.time_to is not None:
        conditions.add(f"{_DISPUTED_AT} < %(time_to)s", time_to=sought.time_to)
    for number, word in enumerate(sought.words):
        _add_word(conditions, f"word_{number}", word, reasons_with[word])
    return conditions


def _add_word(conditions: Conditions, name: str, word: Word, reasons: Sequence[str]) -> None:
    either = [f"d.reason = ANY(%({name}_reasons)s)"]
    values: Parameters = {f"{name}_reasons": [*reasons]}
    if word.text.isascii():

        def has(id: str) -> str:
            said = f'lower({id} COLLATE "C")'
            return f"(strpos({said}, %({name})s) > 0 AND {said} ~ %({name}_in)s)"

        values |= {name: word.text, f"{name}_in": _in_id(word)}
        either.append(has("d.order_id"))
        either.append(f"d.order_id IN ({_OF_SUBMISSION.format(has('s.reference'))})")
        if re.fullmatch(r"[0-9a-f-]+", word.text):
            either.append(has("d.dispute_id::text"))
            either.append(f"d.order_id IN ({_OF_USER.format(has('o.user_id::text'))})")
    conditions.add(f"({' OR '.join(either)})", **values)


def _in_id(word: Word) -> str:
    """A regular expression that finds the word in an id in lower case, which has no spaces.

    A word of letters and digits alone is a run of those; any other is the id without its edges.
    """
    text = re.sub(r"([^0-9a-z])", r"\\\1", word.text)
    if word.text.isalnum():
        return f"(^|[^0-9a-z]){text}" + ("" if word.is_beginning else "($|[^0-9a-z])")
    return f"^[^0-9a-z]*{text}" + ("" if word.is_beginning else "[^0-9a-z]*$")


def may_say(words: Sequence[Word], values: Parameters) -> str:
    """That the column `said` may have all of these words: it has their ASCII letters and digits.

    The server has another idea of the lower case of all other letters.
    """
    conditions: list[str] = []
    for word in words:
        for piece in re.findall(r"[\x00-\x7f]+", word.text):
            name = f"piece_{len(conditions)}"
            values[name] = piece
            conditions.append(f"strpos(said, %({name})s) > 0")
    return " AND ".join(conditions) or "true"


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value
