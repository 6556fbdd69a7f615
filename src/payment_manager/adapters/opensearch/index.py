"""The documents' indices, written.

How to think about it: each kind of document has an index a build, named `<name>-<build>`, and what
is asked is `<name>`, an alias of one of them. Writes go through aliases only (each build has one of
its own for that), since the server would make an index out of any other name. A document bears its
version and the server keeps the highest, so whatever is in doubt is simply written again.

What becomes of a document is told apart for each: taken (or already there), busy (again, a little
later), refused for what stands in it (set aside, for good), or trouble of the whole index. Only an
error that names the document's content sets it aside: all else would set everything aside.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from http import HTTPStatus
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import msgspec
from opensearchpy import AsyncOpenSearch, TransportError
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from payment_manager.adapters.opensearch import documents
from payment_manager.adapters.opensearch.connection import (
    BUSY,
    MALFORMED,
    translated,
    words_of,
)
from payment_manager.adapters.opensearch.documents import State
from payment_manager.adapters.opensearch.mappings import FIELDS, MAPPING_VERSION, index_of
from payment_manager.application.ports import (
    Clock,
    DisputeState,
    Document,
    IndexTrouble,
    LoggedEvent,
    OrderState,
    SetAside,
)

BULK_DOCUMENTS_MAX = 1_000
BULK_BYTES_MAX = 4 * 1024 * 1024
"""Whichever comes first. Larger ones gain nothing, and are refused by more servers."""

BUSY_SECONDS_MAX = 10.0
"""For so long a server that is too busy is asked again; then the caller should know."""

READ_DOCUMENTS = 200

ID_BYTES_MAX = 512
"""OpenSearch's own."""

# So many documents are made without a pause: two milliseconds, in a process that answers requests.
_WITHOUT_PAUSE = 100

# An event never changes; a row's state may be mended without an event.
_VERSIONS = {
    Document.ORDER_EVENT: "external",
    Document.DISPUTE_EVENT: "external",
    Document.ORDER: "external_gte",
    Document.DISPUTE: "external_gte",
}

_NDJSON = "application/x-ndjson"

_encode = msgspec.json.Encoder().encode

_FIELD = re.compile(r"field(?: \[|=\")([a-z_]+)[\]\"]")

Form = TypeVar("Form")


class _Line(NamedTuple):
    """A document as it stands in a bulk."""

    document: Document
    id: str
    text: bytes


class _Busy(IndexTrouble):
    """Too busy for some of the documents."""


class _Refused(IndexTrouble):
    """The server answered, with an error."""

    def __init__(self, status: int, error_type: str) -> None:
        super().__init__(words_of(status, error_type))
        self.status = status


class OpenSearchIndex:
    """`SearchIndex` under these names, one a kind of document."""

    def __init__(
        self, client: AsyncOpenSearch, names: Mapping[Document, str], clock: Clock
    ) -> None:
        self._client, self._names, self._clock = client, names, clock

    # ── Builds ────────────────────────────────────────────────────────────────────────────────────

    async def build(self) -> str | None:
        found = await self._answering()
        builds = {(meta.build, meta.version) for metas in found.values() for meta in metas}
        if len(builds) > 1 or any(len(metas) != 1 for metas in found.values()):
            return None
        build, version = builds.pop()
        if version > MAPPING_VERSION:
            # While an upgrade rolls, old and new processes would build in turns.
            raise IndexTrouble("it was built by a newer version of this service")
        return build if version == MAPPING_VERSION else None

    async def start_build(self, build: str) -> None:
        answering = await self._answering()
        kept = {_index(self._names[each], meta) for each in answering for meta in answering[each]}
        await self._delete(await self._ours() - kept)
        names = self._names.items()
        made = (self._make(document, f"{name}-{build}", build) for document, name in names)
        # All have ended, whatever became of them: else one could be made behind a later clearing.
        for result in await asyncio.gather(*made, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def _make(self, document: Document, index: str, build: str) -> None:
        body = {**index_of(document, build), "aliases": {_written_by(index): {}}}
        await self._acknowledged("PUT", f"/{index}", body=body)

    async def answer_from(self, build: str) -> None:
        answering = await self._answering()
        actions: list[dict[str, Any]] = []
        for document, name in self._names.items():
            for meta in answering[document]:
                if meta.build != build:
                    old = {"index": _index(name, meta), "alias": name}
                    # The client may say this twice, after an answer that got lost.
                    actions.append({"remove": {**old, "must_exist": False}})
            actions.append({"add": {"index": f"{name}-{build}", "alias": name}})
        await self._acknowledged("POST", "/_aliases", body={"actions": actions})
        # Done is done: what can't be deleted now goes before the next build.
        with suppress(IndexTrouble):
            await self._delete(await self._ours() - set(self._behind(build)))

    async def _answering(self) -> Mapping[Document, Sequence["_Meta"]]:
        """What stands behind each name. Raises `IndexTrouble` where it is somebody else's."""
        indices = await self._indices(self._names.values())
        for name in self._names.values():
            if name in indices:
                raise IndexTrouble(f"{name} is an index, where an alias of ours should be")
        found: dict[Document, list[_Meta]] = {document: [] for document in self._names}
        for index, about in indices.items():
            for document, name in self._names.items():
                if name in about.aliases:
                    if (meta := about.ours(index, name, document)) is None:
                        raise IndexTrouble(f"{name} is an alias of an index that is none of ours")
                    found[document].append(meta)
        return found

    async def _ours(self) -> set[str]:
        """All our indices, of whatever build. Others may have names that begin like ours."""
        indices = await self._indices([f"{name}-*" for name in self._names.values()])
        return {
            index
            for index, about in indices.items()
            for document, name in self._names.items()
            if about.ours(index, name, document) is not None
        }

    async def _indices(self, names: Collection[str]) -> Mapping[str, "_Index"]:
        """What there is of these."""
        parameters = {
            "ignore_unavailable": "true",
            "expand_wildcards": "all",
            "filter_path": "*.aliases,*.mappings._meta",
        }
        return await self._ask("GET", f"/{','.join(names)}", dict[str, _Index], parameters)

    async def _delete(self, indices: Collection[str]) -> None:
        left = sorted(indices)
        while left:
            # A few at a time: their names stand in the URL, which servers take up to 4 KiB of.
            some, left = left[:8], left[8:]
            path = f"/{','.join(some)}"
            await self._acknowledged("DELETE", path, {"ignore_unavailable": "true"})

    async def _acknowledged(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        body: object = None,
    ) -> None:
        if not (await self._ask(method, path, _Acknowledged, parameters, body)).acknowledged:
            raise IndexTrouble("not all nodes have followed in time")

    # ── Writing ───────────────────────────────────────────────────────────────────────────────────

    async def write(
        self,
        events: Sequence[LoggedEvent],
        orders: Sequence[OrderState],
        disputes: Sequence[DisputeState],
        *,
        build: str | None = None,
    ) -> Sequence[SetAside]:
        aside: list[SetAside] = []
        async with aclosing(self._bulks(chain(events, orders, disputes), build, aside)) as bulks:
            async for lines in bulks:
                await self._send(lines, aside)
        return aside

    async def _bulks(
        self, states: Iterable[State], build: str | None, aside: list[SetAside]
    ) -> AsyncGenerator[Sequence[_Line], None]:
        """What can be made into documents, by bulks. The rest goes to `aside`."""
        bulk: list[_Line] = []
        size_bytes = 0
        for number, state in enumerate(states, 1):
            document, id = documents.identity(state)
            try:
                if len(id.encode()) > ID_BYTES_MAX:
                    # The server would refuse the whole bulk for it.
                    raise documents.NoDocument("its id is too long")
                line = self._line(document, id, state, build)
            except documents.NoDocument as error:
                aside.append(self._aside(document, id, str(error)))
                continue
            if len(bulk) == BULK_DOCUMENTS_MAX or size_bytes + len(line.text) > BULK_BYTES_MAX:
                if bulk:
                    yield bulk
                bulk, size_bytes = [], 0
            bulk.append(line)
            size_bytes += len(line.text)
            if number % _WITHOUT_PAUSE == 0:
                await asyncio.sleep(0)
        if bulk:
            yield bulk

    def _line(self, document: Document, id: str, state: State, build: str | None) -> _Line:
        name = self._names[document]
        action = {
            "_index": name if build is None else _written_by(f"{name}-{build}"),
            "_id": id,
            "version": documents.version(state),
            "version_type": _VERSIONS[document],
        }
        text = b'{"index":%b}\n%b\n' % (_encode(action), documents.source(state))
        return _Line(document, id, text)

    async def _send(self, lines: Sequence[_Line], aside: list[SetAside]) -> None:
        """All of them, in as many attempts as it takes within the time for that."""
        left = lines
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(_Busy),
            # With jitter, since those who were refused together would come back together.
            wait=wait_random_exponential(multiplier=0.1, max=2.0),
            stop=stop_after_delay(BUSY_SECONDS_MAX),
            reraise=True,
        ):
            with attempt:
                if left := await self._send_once(left, aside):
                    raise _Busy(BUSY)

    async def _send_once(self, lines: Sequence[_Line], aside: list[SetAside]) -> Sequence[_Line]:
        """Those that the server was too busy for come back."""
        try:
            answer = await self._ask(
                "POST",
                "/_bulk",
                _Bulk,
                {"require_alias": "true", "filter_path": _ITEMS},
                b"".join(line.text for line in lines),
            )
        except _Refused as refused:
            if refused.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                return await self._send_halves(lines, aside)
            if str(refused) == BUSY:
                return lines
            raise
        found = [item.index for item in answer.items]
        if [item.id for item in found] != [line.id for line in lines]:
            raise IndexTrouble(MALFORMED)
        busy = []
        for line, item in zip(lines, found, strict=True):
            if item.is_taken():
                continue
            if (why := item.blame(line.document)) is not None:
                aside.append(self._aside(line.document, line.id, why))
            elif (words := item.words()) == BUSY:
                busy.append(line)
            else:
                raise IndexTrouble(words)
        return busy

    async def _send_halves(self, lines: Sequence[_Line], aside: list[SetAside]) -> Sequence[_Line]:
        if len(lines) == 1:
            line = lines[0]
            aside.append(self._aside(line.document, line.id, "too large for the search server"))
            return []
        half = len(lines) // 2
        return [
            *await self._send_once(lines[:half], aside),
            *await self._send_once(lines[half:], aside),
        ]

    def _aside(self, document: Document, id: str, error: str) -> SetAside:
        return SetAside(document, id, error, self._clock.now())

    # ── Reading ───────────────────────────────────────────────────────────────────────────────────

    async def refresh(self, *, build: str | None = None) -> None:
        indices = self._behind(build)
        shards = await self._ask("POST", f"/{','.join(indices)}/_refresh", _Refreshed)
        if not shards.shards.is_whole():
            # A copy that is lost is no harm, a lost index is; and the sum of all doesn't tell.
            for index in indices:
                each = await self._ask("POST", f"/{index}/_refresh", _Refreshed)
                if each.shards.failed or not each.shards.successful:
                    raise IndexTrouble("not all of the index is there")

    async def counts(self, *, build: str | None = None) -> Mapping[Document, int]:
        counts = {}
        for document, index in zip(self._names, self._behind(build), strict=True):
            found = await self._ask("GET", f"/{index}/_count", _Count)
            if not found.shards.is_whole():
                raise IndexTrouble("not all of the index is there")
            counts[document] = found.count
        return counts

    def _behind(self, build: str | None) -> Sequence[str]:
        names = self._names.values()
        return [name if build is None else f"{name}-{build}" for name in names]

    async def differing(
        self,
        events: Sequence[LoggedEvent],
        orders: Sequence[OrderState],
        disputes: Sequence[DisputeState],
    ) -> Sequence[tuple[Document, str, str]]:
        states: list[State] = [*events, *orders, *disputes]
        differing = []
        for start in range(0, len(states), READ_DOCUMENTS):
            part = states[start : start + READ_DOCUMENTS]
            for state, found in zip(part, await self._documents(part), strict=True):
                if (difference := found.difference(state)) is not None:
                    differing.append((*documents.identity(state), difference))
        return differing

    async def _documents(self, states: Sequence[State]) -> Sequence["_Found"]:
        sought = [documents.identity(state) for state in states]
        body = {"docs": [{"_index": self._names[kind], "_id": id} for kind, id in sought]}
        found = (await self._ask("POST", "/_mget", _Documents, body=body)).docs
        if [each.id for each in found] != [id for _, id in sought]:
            raise IndexTrouble(MALFORMED)
        for each in found:
            if each.error is not None:
                raise IndexTrouble(words_of(HTTPStatus.NOT_FOUND, each.error.type))
        return found

    async def _ask(
        self,
        method: str,
        path: str,
        form: type[Form],
        parameters: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Form:
        """Raises `IndexTrouble`, and `_Refused` for an answer with a status of its own."""
        is_bulk = isinstance(body, bytes)
        with translated():
            try:
                answer = await self._client.transport.perform_request(
                    method,
                    path,
                    params=dict(parameters or {}),
                    body=body,
                    headers={"content-type": _NDJSON} if is_bulk else None,
                )
            except TransportError as error:
                if isinstance(error.status_code, int):
                    raise _Refused(error.status_code, error.error) from error
                raise
            return msgspec.convert(answer, form)


def _index(name: str, meta: "_Meta") -> str:
    return f"{name}-{meta.build}"


def _written_by(index: str) -> str:
    """The alias that writes to it while it is built."""
    return f"{index}-writes"


# ── What the server answers ───────────────────────────────────────────────────────────────────────

_ITEMS = ",".join(
    f"items.index.{field}" for field in ("_id", "status", "error.type", "error.reason")
)


class _Acknowledged(msgspec.Struct):
    acknowledged: bool


class _Meta(msgspec.Struct):
    build: str
    version: int
    document: str


class _Mappings(msgspec.Struct):
    meta: Any = msgspec.field(name="_meta", default=None)


class _Index(msgspec.Struct):
    aliases: dict[str, Any] = {}
    mappings: _Mappings = msgspec.field(default_factory=_Mappings)

    def ours(self, index: str, name: str, document: Document) -> _Meta | None:
        """What we wrote on it, if it is an index of ours, under this name and for these."""
        try:
            meta = msgspec.convert(self.mappings.meta, _Meta)
        except msgspec.ValidationError:
            return None
        return meta if index == _index(name, meta) and meta.document == document else None


class _Error(msgspec.Struct):
    type: str
    reason: str = ""


class _Item(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    status: int
    error: _Error | None = None

    def is_taken(self) -> bool:
        """Or there already, in this or a higher version."""
        if self.error is None:
            return self.status in (HTTPStatus.OK, HTTPStatus.CREATED)
        return self.error.type == "version_conflict_engine_exception"

    def blame(self, document: Document) -> str | None:
        """Why this document will never be taken; None where it isn't the document's fault."""
        if self.error is None or self.status != HTTPStatus.BAD_REQUEST:
            return None
        # Its reason shows the value, too.
        named = [each for each in _FIELD.findall(self.error.reason) if each in FIELDS[document]]
        if named:
            return f"{self.error.type}: {named[0]}"
        return self.error.type if self.error.type == "mapper_parsing_exception" else None

    def words(self) -> str:
        return words_of(self.status, None if self.error is None else self.error.type)


class _Items(msgspec.Struct):
    index: _Item


class _Bulk(msgspec.Struct):
    items: list[_Items]


class _Shards(msgspec.Struct):
    total: int
    successful: int
    failed: int

    def is_whole(self) -> bool:
        return self.successful == self.total and not self.failed


class _Refreshed(msgspec.Struct):
    shards: _Shards = msgspec.field(name="_shards")


class _Count(msgspec.Struct):
    count: int
    shards: _Shards = msgspec.field(name="_shards")


class _Found(msgspec.Struct):
    id: str = msgspec.field(name="_id")
    found: bool = False
    version: int = msgspec.field(name="_version", default=0)
    source: dict[str, Any] = msgspec.field(name="_source", default_factory=dict)
    error: _Error | None = None

    def difference(self, state: State) -> str | None:
        """In words; None where the index has this, or a later version."""
        version = documents.version(state)
        if not self.found:
            return "missing"
        if self.version != version:
            return None if self.version > version else f"at {self.version}, not at {version}"
        try:
            fields = documents.fields(state)
        except documents.NoDocument as error:
            return str(error)
        names = sorted(fields.keys() | self.source.keys())
        other = [name for name in names if fields.get(name) != self.source.get(name)]
        return f"other {', '.join(other)}" if other else None


class _Documents(msgspec.Struct):
    docs: list[_Found]
