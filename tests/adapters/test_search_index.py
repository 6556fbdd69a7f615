"""The search index, written: on a real OpenSearch, and through a proxy that has faults.

How to think about it: the index promises that writing again is harmless, that a document is taken,
set aside or trouble and never just gone, and that a question meets one build or the other. So each
test writes, disturbs, writes again, and then counts and compares every document.
"""

import asyncio
import json
import shlex
import shutil
import ssl
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from opensearchpy import AsyncOpenSearch, TransportError

from infra.opensearch_server import OpenSearchServer
from payment_manager.adapters.opensearch import connection, documents
from payment_manager.adapters.opensearch import index as index_module
from payment_manager.adapters.opensearch.connection import (
    FULL,
    MALFORMED,
    READ_ONLY,
    search_client,
)
from payment_manager.adapters.opensearch.index import BULK_BYTES_MAX, OpenSearchIndex
from payment_manager.adapters.opensearch.mappings import FIELDS, MAPPING_VERSION, index_of
from payment_manager.application.ports import (
    DisputeState,
    Document,
    IndexTrouble,
    LoggedEvent,
    OrderState,
)
from payment_manager.domain.dispute_id import dispute_id_of
from tests.clock import FakeClock
from tests.opensearch import SECONDS_MAX, TIMEOUT_SECONDS, IndexNames
from tests.search_faults import (
    Fault,
    FaultyProxy,
    Passing,
    answers,
    bulks_only,
    busy,
    first,
    loses_the_answer,
    malformed,
    read_only,
    resets,
    too_large_above,
    truncates,
)

AT = datetime(2026, 1, 2, 10, 0, 0, 123456, tzinfo=UTC)
BUILD, NEXT = "20261123t010203-1a2b", "20261123t020304-2b3c"

pytestmark = pytest.mark.timeout(TIMEOUT_SECONDS)

Names = Mapping[Document, str]


def names_of(names: IndexNames) -> Names:
    return {
        Document.ORDER_EVENT: names.events_orders,
        Document.DISPUTE_EVENT: names.events_disputes,
        Document.ORDER: names.orders,
        Document.DISPUTE: names.disputes,
    }


@asynccontextmanager
async def index_at(
    url: str, names: IndexNames, timeout_seconds: float = SECONDS_MAX, ca_file: Path | None = None
) -> AsyncIterator[OpenSearchIndex]:
    client = search_client(url, ca_file, timeout_seconds)
    try:
        yield OpenSearchIndex(client, names_of(names), FakeClock())
    finally:
        await client.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is asked again for as long as a busy machine needs."""
    monkeypatch.setattr(index_module, "BUSY_SECONDS_MAX", SECONDS_MAX)


@pytest.fixture
async def client(opensearch_server: OpenSearchServer) -> AsyncIterator[AsyncOpenSearch]:
    client = search_client(opensearch_server.url, None, SECONDS_MAX)
    yield client
    await client.close()


@pytest.fixture
async def index(client: AsyncOpenSearch, index_names: IndexNames) -> OpenSearchIndex:
    """With a first build that answers."""
    index = OpenSearchIndex(client, names_of(index_names), FakeClock())
    await index.start_build(BUILD)
    await index.answer_from(BUILD)
    return index


@pytest.fixture
async def proxy(opensearch_server: OpenSearchServer) -> AsyncIterator[FaultyProxy]:
    async with FaultyProxy(opensearch_server.url) as proxy:
        yield proxy


def event(number: int, **changed: Any) -> LoggedEvent:
    data = '{"actor":"ann","reason":"risk"}'
    made = LoggedEvent(
        event_id=UUID(int=number),
        order_id=f"ord-{number}",
        dispute_id=None,
        sequence=1,
        kind="hold_set",
        provider_event_id=None,
        data=data,
        created_at=AT + timedelta(microseconds=number),
        correlation_id=f"c{number}",
        position=number,
    )
    return made._replace(**changed)


def order(number: int, **changed: Any) -> OrderState:
    made = OrderState(
        order_id=f"ord-{number}",
        sequence=1,
        user_id=UUID(int=number),
        status="created",
        on_hold=False,
        was_held=False,
        amount_minor=10050,
        currency="USD",
        capture_status=None,
        captured_minor=None,
        capture_currency=None,
        captured_at=None,
        created_at=AT,
        updated_at=AT,
        recorded_at=AT,
    )
    return made._replace(**changed)


def dispute(number: int, **changed: Any) -> DisputeState:
    made = DisputeState(
        dispute_id=dispute_id_of(f"ord-{number}"),
        order_id=f"ord-{number}",
        sequence=1,
        user_id=UUID(int=number),
        status="open",
        reason="fraudulent",
        amount_minor=999_999_999_999_999,
        currency="USD",
        opened_at=None,
        evidence_due_at=None,
        submitted_at=None,
        closed_at=None,
        submitting_id=None,
        disputed_at=AT,
        recorded_at=AT,
    )
    return made._replace(**changed)


def some(numbers: Iterable[int]) -> tuple[list[LoggedEvent], list[OrderState], list[DisputeState]]:
    """Of each number an order with an event, and a dispute with one."""
    numbers = list(numbers)
    disputed = [
        event(10_000 + each, order_id=f"ord-{each}", dispute_id=dispute_id_of(f"ord-{each}"))
        for each in numbers
    ]
    return (
        [*map(event, numbers), *disputed],
        list(map(order, numbers)),
        list(map(dispute, numbers)),
    )


async def check_holds(
    index: OpenSearchIndex,
    events: Sequence[LoggedEvent],
    orders: Sequence[OrderState] = (),
    disputes: Sequence[DisputeState] = (),
) -> None:
    """Exactly these, field by field, and nothing twice."""
    await index.refresh()
    assert await index.differing(events, orders, disputes) == []
    assert await index.counts() == {
        Document.ORDER_EVENT: sum(each.dispute_id is None for each in events),
        Document.DISPUTE_EVENT: sum(each.dispute_id is not None for each in events),
        Document.ORDER: len(orders),
        Document.DISPUTE: len(disputes),
    }


# ── Documents ─────────────────────────────────────────────────────────────────────────────────────


async def test_what_was_written_is_found_after_a_refresh_and_equals_what_was_given(
    index: OpenSearchIndex,
) -> None:
    events, orders, disputes = some(range(1, 51))
    assert await index.write(events, orders, disputes) == []
    assert set((await index.counts()).values()) == {0}
    await check_holds(index, events, orders, disputes)


async def test_the_same_again_and_older_states_after_newer_ones_change_nothing(
    index: OpenSearchIndex,
) -> None:
    events, orders, disputes = some(range(1, 21))
    newer = [each._replace(sequence=2, status="updated") for each in orders]
    await index.write(events, newer, disputes)
    for _ in range(2):
        assert await index.write(events, orders, disputes) == []
    await check_holds(index, events, newer, disputes)


async def test_a_state_that_was_mended_without_an_event_replaces_the_damaged_one(
    index: OpenSearchIndex,
) -> None:
    await index.write([], [order(1, status="failed")], [])
    await index.write([], [order(1)], [])
    await check_holds(index, [], [order(1)])


async def test_two_writers_at_once_end_in_the_newest_states(index: OpenSearchIndex) -> None:
    events, orders, disputes = some(range(1, 31))
    rounds = [
        [each._replace(sequence=sequence, amount_minor=sequence) for each in orders]
        for sequence in range(1, 8)
    ]
    await asyncio.gather(
        *(index.write(events, states, disputes) for states in rounds),
        *(index.write(events, states, disputes) for states in reversed(rounds)),
    )
    await check_holds(index, events, rounds[-1], disputes)


AWKWARD = {
    "a key twice": '{"payload":{"a":1,"a":2.50},"payload":{"meta":{"b":1e400}}}',
    "white space": ' {"a" :\t1,\r\n "b":[ ] } ',
    "numbers": '{"a":123456789012345678901234567890.10,"b":-0.0,"c":1E+2,"d":1.10}',
    "depth": '{"a":' * 60 + "1" + "}" * 60,
    "escapes": r'{"a":"\"\\\/\b\f\n\r\t\u0001\u2028é\ud83d\ude00"}',
    "every plane": json.dumps(
        "".join(chr((plane << 16) + 0xFF00 + low) for plane in range(17) for low in range(256)),
        ensure_ascii=False,
    ),
    "NUL escaped twice": r'{"a":"\\u0000"}',
    "256 KiB": json.dumps({"payload": {"meta": {f"k{i}": 'é"\\' * 600 for i in range(64)}}}),
    "not an object": "[1,2,3]",
}


async def test_whatever_an_event_holds_comes_back_byte_for_byte(
    index: OpenSearchIndex, client: AsyncOpenSearch, index_names: IndexNames
) -> None:
    allowed = "ABCXYZabcxyz0123456789._:~@=+-"
    order_id = (allowed * 9)[:255]
    written = [
        event(number, data=data, order_id=order_id, provider_event_id="!" * 255)
        for number, data in enumerate(AWKWARD.values(), 1)
    ]
    state = order(1, order_id=order_id)
    assert await index.write(written, [state], []) == []
    await check_holds(index, written, [state])
    found = await client.search(index=index_names.events_orders, body={"sort": "position"})
    read = [documents.read_event(hit["_source"]) for hit in found["hits"]["hits"]]
    assert dict(zip(AWKWARD, read, strict=True)) == dict(zip(AWKWARD, written, strict=True))


async def test_a_dispute_comes_back_as_it_was(
    index: OpenSearchIndex, client: AsyncOpenSearch, index_names: IndexNames
) -> None:
    times = dict.fromkeys(("opened_at", "evidence_due_at", "submitted_at", "closed_at"), AT)
    full = dispute(1, **times, submitting_id="sub-1", reason='a "reason" é\U0001f600')
    await index.write([], [], [full, dispute(2)])
    await check_holds(index, [], [], [full, dispute(2)])
    found = await client.search(index=index_names.disputes, body={"sort": "order_id"})
    sources = [hit["_source"] for hit in found["hits"]["hits"]]
    assert [documents.read_dispute(source) for source in sources] == [full, dispute(2)]
    assert {key: sources[0][key] for key in ("amount_high", "amount_low", "month")} == {
        "amount_high": 999_999_999,
        "amount_low": 999_999,
        "month": "2026-01",
    }


async def test_a_field_that_nobody_named_is_refused(
    index: OpenSearchIndex, client: AsyncOpenSearch, index_names: IndexNames
) -> None:
    for name in names_of(index_names).values():
        with pytest.raises(Exception, match="strict_dynamic_mapping_exception"):
            await client.index(index=name, body={"unheard": "of"})


async def test_each_difference_is_told_and_a_later_version_is_none(index: OpenSearchIndex) -> None:
    events, orders, disputes = some([1, 2, 3])
    await index.write(events[1:], [orders[0], orders[1]._replace(sequence=3)], disputes)
    other = disputes[0]._replace(reason="another", amount_minor=1)
    older = orders[0]._replace(sequence=2)
    assert await index.differing(events, [older, orders[1]], [other]) == [
        (Document.ORDER_EVENT, str(UUID(int=1)), "missing"),
        (Document.ORDER, "ord-1", "at 1, not at 2"),
        (
            Document.DISPUTE,
            str(other.dispute_id),
            "other amount_high, amount_low, amount_minor, amount_range, reason, words",
        ),
    ]


# ── Poison ────────────────────────────────────────────────────────────────────────────────────────

SECRET = "s3cr3t"

POISON: Mapping[str, tuple[documents.State, str]] = {
    "no text": (
        event(996, data='{"reason":"s3cr3t \\ud800"}'),
        "no document can be made of it (DecodeError)",
    ),
    "no integer": (event(998, sequence=2**40), "mapper_parsing_exception: sequence"),
    "no id": (order(1, order_id=SECRET * 100), "its id is too long"),
    "no term": (event(997, kind=SECRET * 10_000), "illegal_argument_exception: kind"),
    "no currency": (
        dispute(999, currency=SECRET),
        "no document can be made of it (InvalidMoney)",
    ),
}


async def test_poison_is_set_aside_alone_with_words_that_repeat_nothing(
    index: OpenSearchIndex,
) -> None:
    good = [event(number) for number in range(1, 500)]
    events = [each for each, _ in POISON.values() if isinstance(each, LoggedEvent)]
    orders = [each for each, _ in POISON.values() if isinstance(each, OrderState)]
    disputes = [each for each, _ in POISON.values() if isinstance(each, DisputeState)]
    aside = await index.write([*good[:250], *events, *good[250:]], orders, disputes)
    assert {(each.document, each.document_id): each.error for each in aside} == {
        documents.identity(poison): error for poison, error in POISON.values()
    }
    await check_holds(index, good)


async def test_an_index_that_has_not_all_of_our_fields_is_trouble_and_sets_nothing_aside(
    client: AsyncOpenSearch, index_names: IndexNames
) -> None:
    index = OpenSearchIndex(client, names_of(index_names), FakeClock())
    for document, name in names_of(index_names).items():
        body = index_of(document, BUILD)
        known = {each: about for each, about in FIELDS[document].items() if each != "order_id"}
        body["mappings"]["properties"] = known
        await client.indices.create(index=f"{name}-{BUILD}", body={**body, "aliases": {name: {}}})
    assert await index.build() == BUILD
    with pytest.raises(IndexTrouble, match="strict_dynamic_mapping_exception"):
        await index.write([event(1)], [], [])


# ── The server in trouble ─────────────────────────────────────────────────────────────────────────


async def test_an_index_that_takes_no_writes_is_trouble_until_it_does(
    index: OpenSearchIndex, client: AsyncOpenSearch, index_names: IndexNames
) -> None:
    blocks = {"read_only": READ_ONLY, "read_only_allow_delete": FULL, "write": READ_ONLY}
    events, orders, disputes = some([1, 2])
    for block, words in blocks.items():
        name = f"index.blocks.{block}"
        await client.indices.put_settings(index=index_names.orders, body={name: True})
        with pytest.raises(IndexTrouble, match=f"^{words}$"):
            await index.write(events, orders, disputes)
        assert await index.build() == BUILD
        await client.indices.put_settings(index=index_names.orders, body={name: None})
    assert await index.write(events, orders, disputes) == []
    await check_holds(index, events, orders, disputes)


async def test_an_index_that_is_deleted_under_way_is_trouble_and_nothing_takes_its_place(
    index: OpenSearchIndex, client: AsyncOpenSearch, index_names: IndexNames
) -> None:
    await client.indices.delete(index=f"{index_names.orders}-{BUILD}")
    assert await index.build() is None
    for act in (index.write([], [order(1)], []), index.refresh(), index.counts()):
        with pytest.raises(IndexTrouble, match="the index is gone"):
            await act
    with pytest.raises(IndexTrouble, match="the index is gone"):
        await index.differing([], [order(1)], [])
    assert await client.indices.get(index=f"{index_names.orders}*") == {}


async def test_an_index_without_its_shards_is_trouble(
    index: OpenSearchIndex, proxy: FaultyProxy, index_names: IndexNames
) -> None:
    async with index_at(proxy.url, index_names) as through:
        for shards in ({"total": 8, "successful": 4, "failed": 4}, _shards(1, 0)):
            proxy.fault = answers(200, json.dumps({"count": 1, "_shards": shards}).encode())
            for act in (through.refresh(), through.counts()):
                with pytest.raises(IndexTrouble, match="not all of the index is there"):
                    await act
        # A second copy that is nowhere yet is no harm to the first.
        proxy.fault = answers(200, json.dumps({"_shards": _shards(2, 1)}).encode())
        await through.refresh()


def _shards(total: int, successful: int) -> dict[str, int]:
    return {"total": total, "successful": successful, "failed": 0}


def with_items(change: Callable[[list[Any]], object]) -> Fault:
    """The server's own answer to a bulk, with its items changed."""

    async def fault(request: web.Request, body: bytes, passing: Passing) -> web.Response:
        answer = await passing()
        assert isinstance(answer.body, bytes)
        found = json.loads(answer.body)
        change(found["items"])
        return web.json_response(found)

    return bulks_only(fault)


WRONG: Mapping[str, tuple[Fault, str]] = {
    "malformed": (malformed(), MALFORMED),
    "no JSON": (answers(200, b"<html>welcome</html>", "text/html"), MALFORMED),
    "other JSON": (answers(200, b"[1]"), MALFORMED),
    "nothing": (answers(200), MALFORMED),
    "very deep": (answers(200, b"[" * 100_000), MALFORMED),
    "half of a character": (answers(200, b'"\xed\xa0\x80"'), MALFORMED),
    "an item less": (with_items(lambda items: items.pop()), MALFORMED),
    "other items": (with_items(lambda items: items.reverse()), MALFORMED),
    "an unknown status": (
        with_items(lambda items: items[3]["index"].update(status=299)),
        "it answered 299",
    ),
    "cut off": (truncates, "the connection broke"),
    "reset": (resets, "the connection broke"),
    "answer lost": (loses_the_answer, "the connection broke"),
    "gateway": (answers(502, b"<html>Bad Gateway</html>", "text/html"), "it answered 502"),
    "error of another form": (answers(500, b"[]"), "it answered 500"),
    "starting": (
        answers(503, b'{"error":{"type":"cluster_block_exception","reason":"not recovered"}}'),
        "it answered 503, cluster_block_exception",
    ),
    "locked": (answers(401, b"Unauthorized", "text/plain"), "it does not let us in"),
    "read-only": (read_only(), READ_ONLY),
    "elsewhere": (answers(404, b"not here", "text/plain"), "it answered 404"),
}


async def test_every_wrong_answer_is_trouble_and_the_same_stretch_again_is_whole(
    index: OpenSearchIndex, proxy: FaultyProxy, index_names: IndexNames
) -> None:
    told = {}
    async with index_at(proxy.url, index_names) as through:
        for number, (name, (fault, _)) in enumerate(WRONG.items()):
            stretch = some(range(number * 10 + 1, number * 10 + 11))
            proxy.fault = fault
            with pytest.raises(IndexTrouble) as trouble:
                await through.write(*stretch)
            told[name] = str(trouble.value)
            proxy.fault = None
            assert await through.write(*stretch) == [], name
    assert {name: words[: len(WRONG[name][1])] for name, words in told.items()} == {
        name: words for name, (_, words) in WRONG.items()
    }
    await check_holds(index, *some(range(1, len(WRONG) * 10 + 1)))


async def test_nothing_but_the_servers_own_word_says_that_there_is_no_build(
    index: OpenSearchIndex, proxy: FaultyProxy, index_names: IndexNames
) -> None:
    async with index_at(proxy.url, index_names) as through:
        for name, (fault, _) in WRONG.items():
            proxy.fault = fault
            try:
                assert await through.build() == BUILD, name
            except IndexTrouble:
                continue


async def test_a_server_that_hangs_is_trouble_in_time(
    index: OpenSearchIndex, proxy: FaultyProxy, index_names: IndexNames
) -> None:
    proxy.fault = proxy.hangs
    async with index_at(proxy.url, index_names, timeout_seconds=0.2) as through:
        with pytest.raises(IndexTrouble, match="no answer in time"):
            await through.write(*some([1]))
    assert await index.write(*some([1])) == []
    await check_holds(index, *some([1]))


async def test_a_server_that_is_busy_for_a_while_is_asked_again(
    index: OpenSearchIndex, proxy: FaultyProxy, index_names: IndexNames
) -> None:
    proxy.fault = busy(3)
    async with index_at(proxy.url, index_names) as through:
        assert await through.write(*some(range(1, 101))) == []
    assert len(proxy.bulk_bytes) == 4
    await check_holds(index, *some(range(1, 101)))


async def test_only_what_the_server_was_too_busy_for_is_sent_again(
    index: OpenSearchIndex, proxy: FaultyProxy, index_names: IndexNames
) -> None:
    rejected = {"status": 429, "error": {"type": "rejected_execution_exception", "reason": ""}}

    def busy_for_some(items: list[Any]) -> None:
        for item in items[::10]:
            item["index"].update(rejected)

    proxy.fault = first(1, with_items(busy_for_some))
    async with index_at(proxy.url, index_names) as through:
        assert await through.write(*some(range(1, 101))) == []
    whole, again = proxy.bulk_bytes
    assert 0 < again < whole / 5
    await check_holds(index, *some(range(1, 101)))


async def test_a_server_that_stays_busy_is_trouble(
    index: OpenSearchIndex,
    proxy: FaultyProxy,
    index_names: IndexNames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(index_module, "BUSY_SECONDS_MAX", 0.5)
    proxy.fault = busy()
    async with index_at(proxy.url, index_names) as through:
        with pytest.raises(IndexTrouble, match="too busy"):
            await through.write(*some([1]))
    assert proxy.bulk_bytes


async def test_a_bulk_that_is_too_large_is_halved_down_to_the_document_that_is(
    index: OpenSearchIndex, proxy: FaultyProxy, index_names: IndexNames
) -> None:
    huge = event(500, data=json.dumps({"actor": "é" * 60_000}, ensure_ascii=False))
    good = [event(number) for number in range(1, 201)]
    proxy.fault = too_large_above(20_000)
    async with index_at(proxy.url, index_names) as through:
        aside = await through.write([*good[:77], huge, *good[77:]], [], [])
    assert [(each.document_id, each.error) for each in aside] == [
        (str(huge.event_id), "too large for the search server")
    ]
    await check_holds(index, good)


async def test_large_documents_go_in_several_bulks(
    index: OpenSearchIndex, proxy: FaultyProxy, index_names: IndexNames
) -> None:
    large = [event(number, data=json.dumps({"actor": 'é"' * 60_000})) for number in range(1, 21)]
    many = [event(number) for number in range(100, 1500)]
    async with index_at(proxy.url, index_names) as through:
        assert await through.write([*large, *many], [], []) == []
    assert max(proxy.bulk_bytes) <= BULK_BYTES_MAX
    assert 4 <= len(proxy.bulk_bytes) <= 6
    await check_holds(index, [*large, *many])


# ── Builds ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_build_is_seen_by_nobody_until_it_answers_and_then_all_at_once(
    index: OpenSearchIndex, client: AsyncOpenSearch, index_names: IndexNames
) -> None:
    old, new = some(range(1, 6)), some(range(1, 21))
    await index.write(*old)
    await index.start_build(NEXT)
    await index.write(*new, build=NEXT)
    await index.refresh(build=NEXT)
    await check_holds(index, *old)
    assert set((await index.counts(build=NEXT)).values()) == {20}
    assert await index.build() == BUILD

    async def asked_all_the_time() -> set[int]:
        names, totals = ",".join(names_of(index_names).values()), set()
        while not ended.is_set():
            # What was begun before the old build went may not end: then it is no answer.
            with suppress(TransportError):
                found = await client.search(
                    index=names, size=0, params={"allow_partial_search_results": "false"}
                )
                totals.add(found["hits"]["total"]["value"])
        return totals

    ended = asyncio.Event()
    asking = asyncio.create_task(asked_all_the_time())
    await asyncio.sleep(0)
    await index.answer_from(NEXT)
    ended.set()
    assert await asking <= {20, 80}
    assert await index.build() == NEXT
    await check_holds(index, *new)
    left = await client.indices.get(index=f"{index_names.prefix}-*")
    assert set(left) == {f"{name}-{NEXT}" for name in names_of(index_names).values()}
    await index.write(*some([21]))
    await check_holds(index, *some(range(1, 22)))


async def test_a_new_build_takes_away_what_unfinished_ones_left_and_nothing_of_others(
    index: OpenSearchIndex, client: AsyncOpenSearch, index_names: IndexNames
) -> None:
    await index.start_build("20261123t000000-dead")
    foreign = [f"{index_names.orders}-2024", f"{index_names.orders}-{BUILD}0"]
    for name in foreign:
        await client.indices.create(index=name)
    await index.start_build(NEXT)
    left = set(await client.indices.get(index=f"{index_names.prefix}-*"))
    ours = {f"{name}-{each}" for name in names_of(index_names).values() for each in (BUILD, NEXT)}
    assert left == ours | set(foreign)
    await index.start_build(NEXT)  # once more, after an answer that got lost
    await index.answer_from(NEXT)
    assert set(foreign) < set(await client.indices.get(index=f"{index_names.prefix}-*"))


async def test_a_swap_whose_answer_gets_lost_is_done_once_and_what_it_leaves_goes_later(
    index: OpenSearchIndex,
    proxy: FaultyProxy,
    client: AsyncOpenSearch,
    index_names: IndexNames,
) -> None:
    await index.start_build(NEXT)

    async def lost_then_away(
        request: web.Request, body: bytes, passing: Passing
    ) -> web.StreamResponse:
        if request.method == "DELETE":
            return await resets(request, body, passing)
        if request.path == "/_aliases" and not swapped:
            swapped.append(request)
            return await loses_the_answer(request, body, passing)
        return await passing()

    swapped: list[web.Request] = []
    proxy.fault = lost_then_away
    async with index_at(proxy.url, index_names) as through:
        await through.answer_from(NEXT)
    assert swapped
    assert await index.build() == NEXT
    last = "20261123t030405-3c4d"
    await index.start_build(last)
    left = set(await client.indices.get(index=f"{index_names.prefix}-*"))
    assert left == {
        f"{name}-{each}" for name in names_of(index_names).values() for each in (NEXT, last)
    }


async def test_a_write_to_a_build_that_is_gone_is_trouble_and_makes_none(
    index: OpenSearchIndex, client: AsyncOpenSearch, index_names: IndexNames
) -> None:
    before = set(await client.indices.get(index=f"{index_names.prefix}-*"))
    for act in (
        index.write(*some([1]), build="gone"),
        index.refresh(build="gone"),
        index.counts(build="gone"),
        index.answer_from("gone"),
    ):
        with pytest.raises(IndexTrouble, match="the index is gone"):
            await act
    assert set(await client.indices.get(index=f"{index_names.prefix}-*")) == before
    assert await index.build() == BUILD


async def test_there_is_no_build_where_not_all_of_it_is_there_or_it_is_of_another_mapping(
    index: OpenSearchIndex,
    client: AsyncOpenSearch,
    index_names: IndexNames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await index.build() == BUILD
    with monkeypatch.context() as newer:
        newer.setattr(index_module, "MAPPING_VERSION", MAPPING_VERSION + 1)
        assert await index.build() is None
    with monkeypatch.context() as older:
        # Of two versions at once, the older one lets the newer one's be.
        older.setattr(index_module, "MAPPING_VERSION", MAPPING_VERSION - 1)
        with pytest.raises(IndexTrouble, match="newer version"):
            await index.build()
    await index.start_build(NEXT)

    async def moved(name: str, old: str, new: str) -> None:
        actions = [
            {"remove": {"index": f"{name}-{old}", "alias": name}},
            {"add": {"index": f"{name}-{new}", "alias": name}},
        ]
        await client.indices.update_aliases(body={"actions": actions})

    await moved(index_names.disputes, BUILD, NEXT)
    assert await index.build() is None
    await moved(index_names.disputes, NEXT, BUILD)
    assert await index.build() == BUILD
    both = {"add": {"index": f"{index_names.orders}-{NEXT}", "alias": index_names.orders}}
    await client.indices.update_aliases(body={"actions": [both]})
    assert await index.build() is None
    with pytest.raises(IndexTrouble, match="illegal_argument_exception"):
        await index.write([], [order(1)], [])
    await client.indices.delete_alias(index=f"{index_names.orders}-*", name=index_names.orders)
    assert await index.build() is None
    await index.answer_from(NEXT)
    assert await index.build() == NEXT


async def test_what_is_somebody_elses_stays_and_is_trouble(
    client: AsyncOpenSearch, index_names: IndexNames
) -> None:
    index = OpenSearchIndex(client, names_of(index_names), FakeClock())
    assert await index.build() is None
    await client.indices.create(index=index_names.orders)
    alias: dict[str, Any] = {"aliases": {index_names.disputes: {}}}
    await client.indices.create(index=f"{index_names.prefix}-theirs", body=alias)
    for words in ("is an index, where an alias", "of an index that is none of ours"):
        for act in (index.build(), index.start_build(BUILD), index.answer_from(BUILD)):
            with pytest.raises(IndexTrouble, match=words):
                await act
        await client.indices.delete(index=index_names.orders, ignore_unavailable=True)
    assert f"{index_names.prefix}-theirs" in await client.indices.get(
        index=f"{index_names.prefix}*"
    )


# ── Crashes ───────────────────────────────────────────────────────────────────────────────────────


async def test_kill_9_in_the_middle_of_bulks_loses_nothing_and_doubles_nothing(
    frail_opensearch: OpenSearchServer, index_names: IndexNames
) -> None:
    events, orders, disputes = some(range(1, 1001))
    async with (
        FaultyProxy(frail_opensearch.url) as proxy,
        index_at(proxy.url, index_names) as index,
    ):
        await index.start_build(BUILD)
        await index.answer_from(BUILD)
        writing = asyncio.create_task(index.write(events, orders, disputes))
        await proxy.bulks(3)
        frail_opensearch.kill()
        with pytest.raises(IndexTrouble):
            await writing
        with pytest.raises(IndexTrouble):
            await index.build()
        starting = asyncio.create_task(asyncio.to_thread(frail_opensearch.start))
        while not starting.done():
            # Away or starting: never "there is none".
            with suppress(IndexTrouble):
                assert await index.build() == BUILD
            await asyncio.sleep(0.2)
        await starting
        assert await index.build() == BUILD
        assert await index.write(events, orders, disputes) == []
        await check_holds(index, events, orders, disputes)


# ── The client ────────────────────────────────────────────────────────────────────────────────────


async def test_of_two_nodes_one_may_be_dead_or_hang(
    index: OpenSearchIndex,
    proxy: FaultyProxy,
    index_names: IndexNames,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "_DEAD_SECONDS", 60)
    stretches = [some([number]) for number in range(1, 9)]
    async with index_at(f"http://127.0.0.1:1,{proxy.url}", index_names) as through:
        for stretch in stretches[:4]:
            assert await through.write(*stretch) == []
    async with FaultyProxy(proxy.url) as hanging:
        hanging.fault = hanging.hangs
        host_of = connection._host

        def host(url: str, ca_file: Path | None, seconds: float) -> dict[str, Any]:
            """The one that hangs is soon given up, the other one is waited for."""
            return host_of(url, ca_file, 1.0 if url == hanging.url else seconds)

        monkeypatch.setattr(connection, "_host", host)
        async with index_at(f"{hanging.url},{proxy.url}", index_names) as through:
            for stretch in stretches[4:]:
                assert await through.write(*stretch) == []
        assert hanging.requests == 1
    await check_holds(index, *some(range(1, 9)))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::1]:1", "http://nowhere.invalid"])
async def test_a_server_that_is_nowhere_is_no_connection(url: str) -> None:
    async with index_at(url, IndexNames.under("none")) as index:
        with pytest.raises(IndexTrouble, match=r"^no connection$"):
            await index.build()


async def test_a_password_in_the_url_is_sent_and_never_told(
    index: OpenSearchIndex, proxy: FaultyProxy, index_names: IndexNames
) -> None:
    sent = []

    async def noted(request: web.Request, _body: bytes, passing: Passing) -> web.Response:
        sent.append(request.headers.get("authorization"))
        return await passing()

    proxy.fault = noted
    url = proxy.url.replace("//", "//ann:p%C3%A4ss%40word@")
    async with index_at(url, index_names) as through:
        assert await through.build() == BUILD
        assert sent == [f"Basic {b64encode('ann:päss@word'.encode()).decode()}"]
        for fault in (resets, answers(401), answers(500, b'{"error":"p\xc3\xa4ss@word"}')):
            proxy.fault = fault
            with pytest.raises(IndexTrouble) as trouble:
                await through.build()
            assert "word" not in str(trouble.value)


async def test_a_server_behind_tls_is_trusted_by_the_ca_file_alone(
    opensearch_server: OpenSearchServer, index_names: IndexNames, tmp_path: Path
) -> None:
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("no openssl on this machine to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = (
        f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
        f" -subj /CN=search -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}"
    )
    subprocess.run(shlex.split(made), check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    async with FaultyProxy(opensearch_server.url, context) as proxy:
        async with index_at(proxy.url, index_names, ca_file=certificate) as trusting:
            assert await trusting.build() is None
        async with index_at(proxy.url, index_names) as other:
            with pytest.raises(IndexTrouble, match="its certificate is not accepted"):
                await other.build()


@pytest.mark.parametrize(
    ("urls", "ca_file", "words"),
    [
        ("http://host:99999", None, "OPENSEARCH_URLS"),
        ("https://[::1", None, "OPENSEARCH_URLS"),
        ("https://ok,ftp://secret@host", None, "OPENSEARCH_URLS"),
        ("https://host", "/missing", "OPENSEARCH_CA_FILE"),
        ("https://host", __file__, "OPENSEARCH_CA_FILE"),
    ],
)
def test_settings_that_can_not_be_are_told_at_once(
    urls: str, ca_file: str | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words) as told:
        search_client(urls, None if ca_file is None else Path(ca_file), 1.0)
    assert "secret" not in str(told.value)
