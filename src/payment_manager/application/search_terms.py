"""What text search is made of: words, and ranges of amounts. The same for every source of answers.

How to think about it: a text is found by its words, in any letter case. A word is what stands
between spaces, so that an id is one, and each run of letters and digits in it, so that its parts
are found too. Nothing that a person may type is an operator, but a * at a word's end: it stands for
any word that begins like this.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from payment_manager.application.ports import DisputeState, LoggedEvent, Word
from payment_manager.domain.money import Money, to_decimal

QUERY_CHARACTERS_MAX = 300
"""More than an order id, the longest thing to look for."""

QUERY_WORDS_MAX = 16

WORD_CHARACTERS_MAX = 255
"""An order id's; what is longer in a text is not found as one word, only by its parts."""

WORDS_MAX = 2_000
"""Of an event. Metadata has at most 64 keys; only an attack has more words."""

BEGINNING_CHARACTERS_MIN = 3
"""Shorter ones would find nearly everything, at a price."""

_PARTS = re.compile(r"[^\W_]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_EDGES = re.compile(r"^[\W_]+|[\W_]+$")

# Numbers as they were written, so that 100.50 is found.
_decode = msgspec.json.Decoder(float_hook=str).decode

AMOUNT_RANGES: Mapping[str, tuple[int, int | None]] = {
    "0-10": (0, 10),
    "10-50": (10, 50),
    "50-100": (50, 100),
    "100-500": (100, 500),
    "500-1000": (500, 1000),
    "1000-": (1000, None),
}
"""By name: from the first up to and without the second, in major units of whatever currency."""


def amount_range(minor: int, currency: str) -> str:
    amount = to_decimal(Money(minor, currency))
    return next(
        name for name, (_, end) in AMOUNT_RANGES.items() if end is None or amount < Decimal(end)
    )


def words_of(texts: Iterable[str]) -> list[str]:
    """The words of some texts, each once, in the order of their coming; at most `WORDS_MAX`, of as
    many pieces at most.
    """
    words: dict[str, None] = {}
    for piece in " ".join(texts).lower().split()[:WORDS_MAX]:
        # Most pieces are one part, or have no edges: looking first spares half of the time.
        if piece.isalnum():
            words[piece] = None
            continue
        plain = piece[0].isalnum() and piece[-1].isalnum()
        words[piece if plain else _EDGES.sub("", piece)] = None
        for part in _PARTS.findall(piece):
            words[part] = None
    words.pop("", None)
    return [word for word in words if len(word) <= WORD_CHARACTERS_MAX][:WORDS_MAX]


def query_words(text: str) -> Sequence[Word]:
    """What a person typed. Raises `ValueError` with words for people."""
    if len(text) > QUERY_CHARACTERS_MAX:
        raise ValueError(f"must have at most {QUERY_CHARACTERS_MAX} characters")
    if _CONTROL.search(text):
        raise ValueError("must have no control characters")
    words: dict[Word, None] = {}
    for piece in text.lower().split():
        is_beginning = piece.endswith("*")
        whole = _EDGES.sub("", piece)
        if is_beginning and len(whole) < BEGINNING_CHARACTERS_MIN:
            raise ValueError(f"needs {BEGINNING_CHARACTERS_MIN} letters or digits before a *")
        if whole:
            words[Word(whole, is_beginning)] = None
    if not words:
        raise ValueError("must have a word: a letter or a digit")
    if len(words) > QUERY_WORDS_MAX:
        raise ValueError(f"must have at most {QUERY_WORDS_MAX} words")
    return tuple(words)


def matches(words: Iterable[str], sought: Sequence[Word]) -> bool:
    """Whether every word sought is there."""
    there = set(words)
    return all(
        any(word.startswith(each.text) for word in there)
        if each.is_beginning
        else each.text in there
        for each in sought
    )


def event_words(event: LoggedEvent) -> list[str]:
    """Of its ids, reason and metadata; of an operator's action all that it says, but not the text
    of evidence.
    """
    ids = [event.order_id, str(event.event_id), event.provider_event_id or ""]
    if event.dispute_id is not None:
        ids.append(str(event.dispute_id))
    ids.append(event.correlation_id)
    _say(_decode(event.data), ids)
    return words_of(ids)


def dispute_words(dispute: DisputeState) -> list[str]:
    ids = (dispute.order_id, str(dispute.dispute_id), str(dispute.user_id))
    return words_of([*ids, dispute.submitting_id or "", dispute.reason])


def _say(data: Any, texts: list[str]) -> None:
    if not isinstance(data, dict):
        return
    payload = data.get("payload")
    if isinstance(payload, dict):
        for name in ("user_id", "reason", "meta"):
            _tell(payload.get(name), texts)
    else:
        _tell({name: each for name, each in data.items() if name != "fields"}, texts)


def _tell(value: Any, texts: list[str]) -> None:
    """Add all texts, numbers and names of keys in it."""
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, dict):
        for name, each in value.items():
            texts.append(name)
            _tell(each, texts)
    elif isinstance(value, list):
        for each in value:
            _tell(each, texts)
    elif value is not None and not isinstance(value, bool):
        texts.append(str(value))
