"""What a word is: in texts that are searched, and in what a person types."""

import json
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from payment_manager.application.ports import DisputeState, LoggedEvent, Word
from payment_manager.application.search_terms import (
    AMOUNT_RANGES,
    QUERY_CHARACTERS_MAX,
    QUERY_WORDS_MAX,
    WORD_CHARACTERS_MAX,
    WORDS_MAX,
    amount_range,
    dispute_words,
    event_words,
    matches,
    query_words,
    words_of,
)
from payment_manager.domain.currencies import MINOR_UNITS
from payment_manager.domain.money import MINOR_DIGITS_MAX, Money, to_decimal

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine

AT = datetime(2026, 1, 2, tzinfo=UTC)
EVENT_ID = UUID("019b7f3a-5c00-7a31-8f24-1c2d3e4f5a6b")
DISPUTE_ID = UUID("be7611f5-bd64-58a6-b97c-d705849edf43")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Fraud", ["fraud"]),
        ("ord-1001", ["ord-1001", "ord", "1001"]),
        (" (not) as_described! ", ["not", "as_described", "as", "described"]),
        ("a@b.example", ["a@b.example", "a", "b", "example"]),
        ("100.50", ["100.50", "100", "50"]),
        ("ÜBER Straße", ["über", "straße"]),
        ("a\u00a0b\u3000c", ["a", "b", "c"]),
        ("--- 🙂 _", []),
        ("", []),
    ],
)
def test_words_are_what_stands_between_spaces_and_each_run_of_letters_and_digits(
    text: str, words: list[str]
) -> None:
    assert words_of([text]) == words


def test_a_text_of_many_words_has_only_so_many_and_none_that_is_too_long() -> None:
    assert len(words_of(f"w{n}" for n in range(3 * WORDS_MAX))) == WORDS_MAX
    longest, longer = "x" * WORD_CHARACTERS_MAX, "y" * (WORD_CHARACTERS_MAX + 1)
    assert words_of([longest, longer, f"z-{longer}"]) == [longest, "z"]


@CALM
@given(st.lists(st.text(max_size=30), max_size=6))
def test_whatever_is_a_word_of_a_text_is_found_by_typing_it(texts: list[str]) -> None:
    there = words_of(texts)
    for word in there:
        assert matches(there, [Word(word), Word(word[:3], is_beginning=True)])
        try:
            sought = query_words(word)
        except ValueError:
            # Control characters can't be typed, and are in no reason and no id.
            assert any(character < " " or "\x7f" <= character < "\xa0" for character in word)
        else:
            assert matches(there, sought)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("Fraud", [Word("fraud")]),
        ("  ord-1001   FRAUD ", [Word("ord-1001"), Word("fraud")]),
        ("fra*", [Word("fra", True)]),
        ("fra* fra", [Word("fra", True), Word("fra")]),
        ("fraud fraud", [Word("fraud")]),
        ("(fraud OR kind:*)", [Word("fraud"), Word("or"), Word("kind")]),
        ('"not received"', [Word("not"), Word("received")]),
        ("*fraud", [Word("fraud")]),
        ("fr*ud", [Word("fr*ud")]),
        ("-fraud", [Word("fraud")]),
    ],
)
def test_what_is_typed_is_words_and_a_star_at_the_end_a_beginning(
    typed: str, words: list[Word]
) -> None:
    assert list(query_words(typed)) == words


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("", "a word"),
        (" - 🙂 ", "a word"),
        ("ab*", "before a \\*"),
        ("*", "before a \\*"),
        ("x" * (QUERY_CHARACTERS_MAX + 1), "at most 300"),
        (" ".join(f"w{n}" for n in range(QUERY_WORDS_MAX + 1)), "at most 16"),
        ("a\x00b", "control"),
        ("a\nb", "control"),
        ("a\x85b", "control"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(typed: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        query_words(typed)


@CALM
@given(st.text(max_size=400))
def test_whatever_is_typed_is_words_or_refused(typed: str) -> None:
    with suppress(ValueError):
        words = query_words(typed)
        assert 0 < len(words) <= QUERY_WORDS_MAX
        for word in words:
            assert word.text[0].isalnum()
            assert word.text[-1].isalnum()


def test_every_word_sought_must_be_there() -> None:
    there = ["ord-1001", "fraud"]
    assert matches(there, [])
    assert matches(there, [Word("fraud"), Word("ord", True)])
    assert not matches(there, [Word("fraud"), Word("ord")])
    assert not matches([], [Word("x")])


def event(data: Any, **more: Any) -> LoggedEvent:
    given = {"dispute_id": None, "kind": "webhook_received", "provider_event_id": "evt-9"} | more
    return LoggedEvent(
        event_id=EVENT_ID,
        order_id="ord-1",
        sequence=1,
        data=data if isinstance(data, str) else json.dumps(data),
        created_at=AT,
        correlation_id="c.1_x",
        position=1,
        **given,
    )


def test_a_webhook_is_found_by_its_ids_reason_and_metadata_and_not_by_its_amount() -> None:
    payload = {
        **{"user_id": "u-1", "reason": "Not received", "amount": 77.25, "status": "opened"},
        "meta": {"Shop": "North", "deep": [{"ref": "r/2"}, 3.50, True, None]},
        "unknown": "secret",
    }
    words = event_words(event({"outcome": "applied", "payload": payload}, dispute_id=DISPUTE_ID))
    for word in ("ord-1", str(EVENT_ID), "evt-9", "c.1_x", "u-1", "not", "received", "shop"):
        assert word in words
    for word in (str(DISPUTE_ID), "north", "deep", "ref", "r/2", "3.5"):
        assert word in words
    for word in ("77.25", "opened", "applied", "secret", "true"):
        assert word not in words


def test_numbers_are_found_as_they_were_written() -> None:
    data = '{"payload": {"meta": {"n": 100.50, "big": 1E5, "whole": 7}}}'
    words = event_words(event(data))
    assert {"100.50", "1e5", "7"} <= {*words}


def test_an_action_is_found_by_all_that_it_says_but_the_text_of_evidence() -> None:
    data = {
        "actor": "Ann",
        "reason": "risk",
        "fields": {"name": "Ada"},
        "files": [{"name": "a.pdf"}],
    }
    words = event_words(event(data, kind="evidence_added", provider_event_id=None))
    assert {"ann", "risk", "a.pdf"} <= {*words}
    assert "ada" not in words


def test_a_dispute_is_found_by_its_ids_and_its_reason() -> None:
    state = DisputeState(
        dispute_id=DISPUTE_ID, order_id="ORD-1", sequence=1, user_id=EVENT_ID, status="won",
        reason="Not received", amount_minor=1, currency="USD", opened_at=AT, evidence_due_at=None,
        submitted_at=AT, closed_at=AT, submitting_id="sg-Subm-1", disputed_at=AT, recorded_at=AT,
    )  # fmt: skip
    words = dispute_words(state)
    for word in (str(DISPUTE_ID), "ord-1", str(EVENT_ID), "sg-subm-1", "subm", "not", "received"):
        assert word in words
    assert "won" not in words


@CALM
@given(st.sampled_from(sorted(MINOR_UNITS)), st.integers(1, 10**MINOR_DIGITS_MAX - 1))
def test_an_amount_lies_in_exactly_the_range_of_its_name(currency: str, minor: int) -> None:
    amount = to_decimal(Money(minor, currency))
    (name,) = [
        name
        for name, (start, end) in AMOUNT_RANGES.items()
        if Decimal(start) <= amount and (end is None or amount < Decimal(end))
    ]
    assert amount_range(minor, currency) == name
