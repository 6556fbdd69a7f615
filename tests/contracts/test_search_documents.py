"""Documents of the search index: made of whatever the database can hold, and back as it was."""

import json
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payment_manager.adapters.opensearch import documents
from payment_manager.adapters.opensearch.mappings import FIELDS
from payment_manager.application.ports import (
    DisputeState,
    Document,
    IndexTrouble,
    LoggedEvent,
    OrderState,
)
from payment_manager.domain.currencies import MINOR_UNITS

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2100, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
SEQUENCES = st.integers(1, 2**31 - 1)
MINOR = st.integers(1, 10**15 - 1)
CURRENCIES = st.sampled_from(sorted(MINOR_UNITS))

EVENTS = st.builds(
    LoggedEvent,
    event_id=st.uuids(),
    order_id=TEXTS,
    dispute_id=st.none() | st.uuids(),
    sequence=SEQUENCES,
    kind=TEXTS,
    provider_event_id=st.none() | TEXTS,
    data=st.dictionaries(TEXTS, TEXTS | st.floats(allow_nan=False, allow_infinity=False)).map(
        json.dumps
    ),
    created_at=TIMES,
    correlation_id=TEXTS,
    position=st.integers(1, 2**63 - 1),
)
ORDERS = st.builds(
    OrderState,
    order_id=TEXTS,
    sequence=SEQUENCES,
    user_id=st.uuids(),
    status=TEXTS,
    on_hold=st.booleans(),
    was_held=st.booleans(),
    amount_minor=st.none() | MINOR,
    currency=st.none() | CURRENCIES,
    capture_status=st.none() | TEXTS,
    captured_minor=st.none() | MINOR,
    capture_currency=st.none() | CURRENCIES,
    captured_at=st.none() | TIMES,
    created_at=TIMES,
    updated_at=TIMES,
    recorded_at=TIMES,
)
DISPUTES = st.builds(
    DisputeState,
    dispute_id=st.uuids(),
    order_id=TEXTS,
    sequence=SEQUENCES,
    user_id=st.uuids(),
    status=TEXTS,
    reason=TEXTS,
    amount_minor=MINOR,
    currency=CURRENCIES,
    opened_at=st.none() | TIMES,
    evidence_due_at=st.none() | TIMES,
    submitted_at=st.none() | TIMES,
    closed_at=st.none() | TIMES,
    submitting_id=st.none() | TEXTS,
    disputed_at=TIMES,
    recorded_at=TIMES,
)

AT = datetime(2026, 1, 31, 23, 59, 59, 999999, tzinfo=UTC)
DISPUTE = DisputeState(
    dispute_id=UUID(int=1),
    order_id="ord-1",
    sequence=1,
    user_id=UUID(int=2),
    status="open",
    reason="fraudulent",
    amount_minor=12_345_678_901_234,
    currency="KWD",
    opened_at=AT,
    evidence_due_at=None,
    submitted_at=None,
    closed_at=None,
    submitting_id=None,
    disputed_at=AT,
    recorded_at=AT,
)


@given(EVENTS)
def test_an_event_is_read_back_as_it_was(event: LoggedEvent) -> None:
    assert documents.read_event(json.loads(documents.source(event))) == event


@given(DISPUTES)
def test_a_dispute_is_read_back_as_it_was(dispute: DisputeState) -> None:
    assert documents.read_dispute(json.loads(documents.source(dispute))) == dispute


@given(EVENTS | ORDERS | DISPUTES)
def test_the_fields_are_those_of_the_mapping_and_what_the_index_will_be_compared_with(
    state: documents.State,
) -> None:
    document, _ = documents.identity(state)
    written = json.loads(documents.source(state))
    assert written.keys() <= FIELDS[document].keys()
    assert written == documents.fields(state)
    made = state._asdict()
    assert {name for name in made if made[name] is not None} <= written.keys()


def test_times_are_utc_to_the_microsecond_wherever_they_were_said() -> None:
    # The first hour of February in Berlin is January's last in UTC.
    berlin = AT.astimezone(timezone(timedelta(hours=1)))
    in_berlin = DISPUTE._replace(disputed_at=berlin, recorded_at=berlin)
    written = documents.fields(in_berlin)
    assert written["month"] == "2026-01"
    assert written["disputed_us"] == 1_769_903_999_999_999
    assert documents.read_dispute(written).disputed_at == AT


def test_an_amount_is_indexed_in_two_parts_that_add_up() -> None:
    written = documents.fields(DISPUTE)
    assert (written["amount_high"], written["amount_low"]) == (12_345_678, 901_234)
    assert written["amount_range"] == "1000-"


@pytest.mark.parametrize(
    "state",
    [
        DISPUTE._replace(currency="XXX"),
        DISPUTE._replace(reason="half of a character: \ud800"),
    ],
)
def test_what_no_document_can_be_made_of_is_told_without_its_content(
    state: documents.State,
) -> None:
    with pytest.raises(
        documents.NoDocument, match=r"^no document can be made of it \([A-Za-z]+\)$"
    ):
        documents.source(state)


@pytest.mark.parametrize("damage", [{}, {"order_id": 1}, {"dispute_id": "no uuid"}])
def test_a_document_of_somebody_elses_is_trouble(damage: dict[str, object]) -> None:
    source = {**documents.fields(DISPUTE), **damage} if damage else {}
    with pytest.raises(IndexTrouble, match="none of ours"):
        documents.read_dispute(source)


def test_every_kind_of_document_has_a_mapping() -> None:
    assert FIELDS.keys() == set(Document)
