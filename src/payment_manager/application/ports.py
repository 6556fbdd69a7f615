"""Every Protocol that the outside must satisfy, on one page, with the values that cross it.

How to think about it: the application puts steps in sequence and decides nothing; what it needs of
a database, a provider or a clock stands here as a promise. An adapter keeps the promise or raises
one of the errors below; a driver's own error never comes through.

    PortError
    ├── Unavailable     passing: a connection, a failover, a deadlock. Later the call may succeed
    │   └── IndexTrouble    the search server's
    ├── WriteRefused    lasting: the database will never take this write
    └── ArchiveError    for people: a disk is full, a folder is missing, a file is damaged
"""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from payment_manager.domain import dispute, order
from payment_manager.domain.dispute import ChargebackNotice, Dispute
from payment_manager.domain.gateway import Answer, CaptureQuestion, RepresentmentQuestion
from payment_manager.domain.order import Order

State = TypeVar("State", Order, Dispute)


class PortError(Exception):
    """Something outside did not do what was asked; nothing of it was done, or all of it (see
    `Unavailable`).
    """


class Unavailable(PortError):
    """Passing trouble. Raised by a commit, it leaves open whether the commit happened; known ids
    make asking again safe.
    """


class WriteRefused(PortError):
    """Lasting trouble with what was written."""


class Clock(Protocol):
    def now(self) -> datetime:
        """The time in UTC, with an offset, in microseconds."""
        ...


class EventIds(Protocol):
    def next(self) -> UUID:
        """A UUIDv7, greater than all that this process was given before."""
        ...


# ── The write side ────────────────────────────────────────────────────────────────────────────────


class Space(StrEnum):
    """Orders and disputes are two spaces of webhook ids."""

    ORDER = "order"
    DISPUTE = "dispute"


class WebhookId(NamedTuple):
    space: Space
    order_id: str
    provider_event_id: str


@dataclass(frozen=True, slots=True)
class Known:
    """A webhook that was taken before. `rejected_over`: the status that it contradicted, if it was
    rejected.
    """

    content_hash: bytes
    rejected_over: str | None = None


@dataclass(frozen=True, slots=True)
class Parked:
    """A notice that waits for its order, with what its event will need."""

    notice: ChargebackNotice
    content_hash: bytes
    parked_at: datetime
    correlation_id: str


@dataclass(frozen=True, slots=True)
class Stream(Generic[State]):
    """An aggregate with the bookkeeping of its log: `sequence` is its last event's."""

    state: State
    sequence: int
    first_event_at: datetime
    last_event_at: datetime


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event with its place in the log. `stream` is the order's or the dispute's id, as text."""

    event_id: UUID
    space: Space
    stream: str
    sequence: int
    event: order.Event | dispute.Event
    created_at: datetime
    correlation_id: str


@dataclass(slots=True)
class Loaded:
    """What is stored about some orders: each aggregate whole, keyed by `order_id` (a dispute by its
    order's).
    """

    orders: dict[str, Stream[Order]] = field(default_factory=dict)
    disputes: dict[str, Stream[Dispute]] = field(default_factory=dict)
    known: dict[WebhookId, Known] = field(default_factory=dict)
    parked: dict[str, list[Parked]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A question put to the provider under the caller's key, and when it may be put again."""

    space: Space
    order_id: str
    key: str
    correlation_id: str
    next_attempt_at: datetime
    asked: int = 0


@dataclass(slots=True)
class Changes:
    """What a transaction writes.

    `requested` and `settled` name attempts whose parameters and answers stand in the saved states;
    `evidence` names the orders whose dispute has new evidence; `unparked` the orders whose parked
    notices were applied.
    """

    orders: dict[str, Stream[Order]] = field(default_factory=dict)
    disputes: dict[str, Stream[Dispute]] = field(default_factory=dict)
    events: list[Recorded] = field(default_factory=list)
    known: dict[WebhookId, Known] = field(default_factory=dict)
    parked: list[Parked] = field(default_factory=list)
    unparked: list[str] = field(default_factory=list)
    evidence: set[str] = field(default_factory=set)
    requested: list[Attempt] = field(default_factory=list)
    settled: list[tuple[Space, str, str]] = field(default_factory=list)


class Transaction(Protocol):
    async def load(self, order_ids: Sequence[str], webhook_ids: Sequence[WebhookId] = ()) -> Loaded:
        """Lock these orders and their disputes (present or not, in one order) and read all that is
        stored about them.

        The locks last until the transaction ends. To be called once, before anything is saved.
        """
        ...

    async def save(self, changes: Changes) -> None:
        """Write it all in a fixed number of statements. Durable when the transaction has ended."""
        ...


class Database(Protocol):
    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Commits at the end, rolls back on an exception. Raises `Unavailable`, `WriteRefused`."""
        ...


# ── The provider ──────────────────────────────────────────────────────────────────────────────────


class Gateway(Protocol):
    """The provider. Never raises but for cancellation: what goes wrong is an `Unknown` answer."""

    async def capture(self, question: CaptureQuestion, *, correlation_id: str) -> Answer: ...

    async def submit_representment(
        self, question: RepresentmentQuestion, *, correlation_id: str
    ) -> Answer: ...


@dataclass(frozen=True, slots=True)
class OpenIntents:
    """How many questions have no known answer, and since when the oldest."""

    count: int
    oldest_requested_at: datetime | None
    overdue: int


class Intents(Protocol):
    """The open questions to the provider: a queue in the database. Raises `Unavailable`."""

    async def claim_due(
        self, now: datetime, *, lease_until: datetime, limit: int
    ) -> Sequence[Attempt]:
        """Take the open attempts that are due, at most `limit`, so that nobody else is given them
        before `lease_until`.
        """
        ...

    async def ask_again_at(self, attempt: Attempt, when: datetime) -> None:
        """Schedule the next asking; nothing happens where the attempt is settled by now."""
        ...

    async def open(self, overdue_before: datetime) -> OpenIntents: ...


# ── The read side ─────────────────────────────────────────────────────────────────────────────────

Place = tuple[datetime, str]
"""Where a page ended: the time and the id of its last row."""


@dataclass(frozen=True, slots=True)
class OrdersAsked:
    """An empty sequence or None: no such filter. Sorted by (`sort_by`, order id)."""

    statuses: Sequence[order.OrderStatus] = ()
    user_ids: Sequence[UUID] = ()
    on_hold: bool | None = None
    by_update: bool = False
    ascending: bool = False


@dataclass(frozen=True, slots=True)
class DisputesAsked:
    """Newest recorded first. `due_before` excludes its instant."""

    statuses: Sequence[dispute.DisputeStatus] = ()
    reasons: Sequence[str] = ()
    order_ids: Sequence[str] = ()
    due_before: datetime | None = None


EVENT_BYTES_MAX = 8 * 1024 * 1024
"""Of payloads in a page of events. A payload may have 256 KiB, and a thousand of them at once would
let a few callers fill the memory."""


@dataclass(frozen=True, slots=True)
class EventsAsked:
    """`streams`: order or dispute ids, as text. The window is half open: `time_from` <= t <
    `time_to`.
    """

    space: Space
    streams: Sequence[str] = ()
    kinds: Sequence[str] = ()
    time_from: datetime | None = None
    time_to: datetime | None = None
    ascending: bool = False


@dataclass(frozen=True, slots=True)
class DisputeRow:
    """A dispute with the time it was recorded, by which lists are sorted."""

    dispute: Dispute
    recorded_at: datetime


class EventRow(NamedTuple):
    """`stream`: the order's or dispute's id; `data`: JSON as stored. Ids as text: they are only
    shown, and a page of UUIDs costs more to make than to read.
    """

    event_id: str
    stream: str
    kind: str
    provider_event_id: str | None
    data: bytes
    created_at: datetime
    sequence: int


class ReadModel(Protocol):
    """Questions about what is committed; what they cost does not grow with the log, but for one of
    all time that finds too little to fill its page. Raises `Unavailable`.

    A list answers at most `limit` rows that come after `after` in its own order.
    """

    async def orders_by_id(self, order_ids: Sequence[str]) -> dict[str, Order]: ...

    async def disputes_by_id(self, dispute_ids: Sequence[UUID]) -> dict[UUID, Dispute]: ...

    async def orders(
        self, asked: OrdersAsked, after: Place | None, limit: int
    ) -> Sequence[Order]: ...

    async def disputes(
        self, asked: DisputesAsked, after: Place | None, limit: int
    ) -> Sequence[DisputeRow]: ...

    async def events(
        self, asked: EventsAsked, after: Place | None, limit: int
    ) -> Sequence[EventRow]: ...


# ── Messages, in Kafka mode ───────────────────────────────────────────────────────────────────────


class Message(NamedTuple):
    """A message as the broker keeps it; its offset counts within its partition."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Messages(Protocol):
    """One process's share of a topic, as a member of its consumer group.

    Whatever was polled and not committed comes again: to this process or to another, after a
    rebalance or a crash.
    """

    async def poll(self, limit: int, wait_seconds: float) -> Sequence[Message]:
        """The next messages, in order within each partition; none after `wait_seconds`.

        Raises `Unavailable` for lasting trouble of this membership: open another one.
        """
        ...

    async def commit(self, messages: Sequence[Message]) -> None:
        """These are done with, and all before them in their partitions.

        Not waited for: a commit that fails is said again, and what no commit got through comes
        again. Quiet where the partitions are another's by now. Raises `Unavailable`.
        """
        ...

    def held(self) -> AbstractAsyncContextManager[None]:
        """Nothing is fetched meanwhile, and `stay` keeps the membership alive."""
        ...

    async def stay(self, seconds: float) -> bool:
        """Wait, while held. False where a rebalance has taken what was polled before."""
        ...

    async def pending(self) -> int:
        """How many messages of this share are not committed. Raises `Unavailable`."""
        ...


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that can never be applied, and why; the words repeat nothing of its content."""

    message: Message
    error_class: str
    error_message: str
    failed_at: datetime


class DeadLetters(Protocol):
    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Durable, all of them, when it returns. Raises `Unavailable`: some of them may be, and
        putting them again is safe.
        """
        ...


# ── Dead letters, as operators meet them ──────────────────────────────────────────────────────────


class LetterId(NamedTuple):
    """Where a letter stands: the place in the topic of its space's dead letters."""

    space: Space
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Letter:
    """What a dead letter says about itself.

    `topic_id` is another one when a topic was deleted and made again. `fingerprint` is the same for
    two letters with the same content that name the same source: copies, left by a crash.
    """

    id: LetterId
    topic: str
    topic_id: str
    fingerprint: bytes
    written_at: datetime
    error_class: str
    error_message: str
    attempts: int
    first_failure: str
    last_failure: str
    source_topic: str
    source_partition: int
    source_offset: int
    correlation_id: str | None


class LetterRead(NamedTuple):
    letter: Letter
    message: Message


class DeadLetterBox(Protocol):
    """The topics of dead letters, read beside whoever writes there. Raises `Unavailable`, within
    ten seconds where nobody answers.
    """

    def letters(self, space: Space) -> AsyncGenerator[Sequence[LetterRead], None]:
        """All that were there at the call, a few hundred at a time, in order within a partition."""
        ...

    async def letter(self, id: LetterId) -> LetterRead | None: ...

    async def give_back(
        self, space: Space, messages: Sequence[Message]
    ) -> Sequence[tuple[int, int] | str]:
        """Write them to the topic that they came from, unchanged, with all headers.

        For each: the partition and offset, once it is durable there, or what kept it from that.
        """
        ...

    async def extent(self, space: Space) -> tuple[str, Sequence[tuple[int, int, int]]]:
        """The topic's id, and of each partition its number, the first offset and the one after the
        last.
        """
        ...


class Handling(StrEnum):
    """What an operator did with a dead letter."""

    REPLAYED = "replayed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Handled:
    """`replayed_to`: partition and offset in the topic that the message came from."""

    handling: Handling
    actor: str
    reason: str
    at: datetime
    replayed_to: tuple[int, int] | None = None
    is_copy: bool = False


class DeadLetterBook(Protocol):
    """What was done about the letters of one topic, while nobody else does anything about any."""

    async def past(self, letters: Sequence[Letter]) -> Mapping[LetterId, Sequence[Handled]]:
        """What was done about these, in the order of time; those without a past are left out."""
        ...

    async def record(self, handled: Sequence[tuple[Letter, Handled]]) -> None: ...


class DeadLetterActions(Protocol):
    """The audit trail of what was done about dead letters. Raises `Unavailable`."""

    def writing(self) -> AbstractAsyncContextManager[DeadLetterBook]:
        """One writer at a time. What was recorded is durable at the end, or none of it."""
        ...

    async def past(self, letters: Sequence[Letter]) -> Mapping[LetterId, Sequence[Handled]]: ...

    async def handled(
        self, topic_id: str, partitions: Sequence[tuple[int, int, int]]
    ) -> tuple[int, int]:
        """How many letters within these (partition, first offset, offset after the last) were
        replayed or dropped, and how many messages were given back.
        """
        ...


# ── Upkeep ────────────────────────────────────────────────────────────────────────────────────────


class LogDay(NamedTuple):
    """A day of one of the two event logs: what was recorded on it, in UTC."""

    space: Space
    day: date


@dataclass(frozen=True, slots=True)
class PartitionHealth:
    """`days_ahead`: how many days after today are made; `default_rows`: events outside of every day
    (at most counted).
    """

    days_ahead: int
    default_rows: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """A day that is packed now. `seconds`: all of it; `locked_seconds`: for how long at most those
    who read or write the log had to wait.
    """

    day: LogDay
    rows: int
    bytes_before: int
    bytes_after: int
    seconds: float
    locked_seconds: float


@dataclass(frozen=True, slots=True)
class LogExtent:
    """`days` that are attached, bytes with indexes and all, and when a day was sealed last."""

    space: Space
    days: int
    size_bytes: int
    last_sealed_at: datetime | None


class Sealing(Protocol):
    """Packing days that are over, so that questions read little. Raises `Unavailable`."""

    async def unsealed(self, before: date) -> Sequence[LogDay]:
        """The days of the logs before this one that are not sealed yet, oldest first."""
        ...

    async def seal(self, day: LogDay, now: datetime) -> Sealed | None:
        """Put a packed copy in the day's place, or leave everything as it is: None, where somebody
        was in the way, so try again later.

        Readers and writers go on, but for a moment at the end; no row is lost, however late.
        """
        ...

    async def extents(self) -> Sequence[LogExtent]:
        """How large each log is, by the catalogue: nothing is read."""
        ...


class Leadership(Protocol):
    def leading(self) -> AbstractAsyncContextManager[bool]:
        """Whether this process leads meanwhile; at most one does. Raises `Unavailable`."""
        ...


class Partitions(Protocol):
    async def maintain(self, now: datetime) -> PartitionHealth:
        """Make the days that are missing. Idempotent; blocks writers for a moment at most."""
        ...


class Moved(NamedTuple):
    """Rows out of the default partition, which make up this day now."""

    day: LogDay
    rows: int


class DefaultRows(Protocol):
    async def move(self) -> Sequence[Moved]:
        """Move the events outside of every day into days made for them.

        Of each log all of them or none; who reads or writes waits for a moment at the end, and each
        snapshot sees each event once. Raises `Unavailable`: somebody is in the way, try again;
        `WriteRefused`: a table is in the way, which only an operator can judge.
        """
        ...


class DayState(StrEnum):
    """What a day of a log is now. `MISSING`: it was sealed once, and nobody knows where it went."""

    DEFAULT = "default"
    AHEAD = "ahead"
    TODAY = "today"
    OPEN = "open"
    SEALED = "sealed"
    DETACHED = "detached"
    ARCHIVED = "archived"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class DayOverview:
    """A table of a log, or what is left of it. `day` is None for the default partition; rows are
    the server's estimate, of an archived day the archive's count.
    """

    space: Space
    day: date | None
    state: DayState
    rows: int
    heap_bytes: int
    index_bytes: int
    total_bytes: int
    sealed_at: datetime | None
    archive_file: str | None


class Overview(Protocol):
    async def days(self, today: date) -> Sequence[DayOverview]:
        """All days of both logs, of each the default partition first, then the newest. Nothing is
        read but the catalogue. Raises `Unavailable`.
        """
        ...


class KnownIds(Protocol):
    async def forget(self, before: datetime) -> int:
        """Forget which webhooks were taken before; how many were forgotten. Never one that is still
        parked. In short transactions that wait for no writer. Raises `Unavailable`.
        """
        ...


class EventBatches(Protocol):
    async def forget(self, now: datetime) -> int:
        """Forget where events are that every projection of the logs has passed; of how many
        transactions' runs of time. In short transactions. Raises `Unavailable`.

        A projection that has not moved for 30 days, though something waited, is dropped and told:
        when it comes back it is built from nothing.
        """
        ...


class StoredEvent(NamedTuple):
    """An event with all its columns, as the log has it. `stream`: the order's or dispute's id;
    `order_id`: of a dispute its order's, or no order's where nothing tells it (it begins with a
    question mark then). `data` as it was received.
    """

    order_id: str
    sequence: int
    stream: str
    event_id: UUID
    kind: str
    provider_event_id: str | None
    data: str
    created_at: datetime
    correlation_id: str
    transaction_id: int
    position: int


class ArchiveError(PortError):
    """The archive can't be written, or is not what it was; the text is for people."""


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """A day in the archive. `name`: its place in the archive's folder; `digest`: SHA-256 over all
    columns of its rows, sorted by (order_id, sequence, event_id).
    """

    day: LogDay
    name: str
    rows: int
    digest: bytes


class FileFound(NamedTuple):
    """A file that stands where a day's should; without `file` it can't be read, and `why`."""

    day: LogDay
    name: str
    size_bytes: int
    file: ArchiveFile | None
    why: str


class ArchivedEvents(Protocol):
    """Events of some files, for a walk along the orders' ids. `gone`: the days of which something
    could not be read so far, and why.
    """

    @property
    def gone(self) -> Mapping[LogDay, str]: ...

    async def bound(self, after: str, rows: int) -> str | None:
        """The order's id at which about so many rows behind `after` end; None: fewer are left."""
        ...

    async def events(self, space: Space, after: str, upto: str) -> Sequence[StoredEvent]:
        """The events of the orders (or their disputes) behind `after` and up to `upto`, sorted by
        (order_id, sequence).
        """
        ...


class Archive(Protocol):
    """Days of the logs, a file each. Every method but `walk` raises `ArchiveError`."""

    async def write(self, day: LogDay, events: AsyncIterator[Sequence[StoredEvent]]) -> ArchiveFile:
        """Write a day aside; `events` come sorted by (order_id, sequence, event_id). On the disk
        when it returns, but not part of the archive yet.
        """
        ...

    async def check(self, file: ArchiveFile) -> None:
        """Read back what was written aside: returns only if it holds exactly the rows given."""
        ...

    async def publish(self, file: ArchiveFile) -> None:
        """Make what was written aside part of the archive, durably; what stood there under the same
        name with another content is set aside.
        """
        ...

    def walk(self, files: Sequence[ArchiveFile]) -> ArchivedEvents: ...

    async def found(self) -> Sequence[FileFound]:
        """What there is, newest day first."""
        ...

    async def prove(self, file: ArchiveFile) -> None:
        """Read a file in its place: returns only if it holds exactly the rows it should."""
        ...

    async def events(
        self, asked: EventsAsked, limit: int
    ) -> tuple[Sequence[EventRow], Sequence[str]]:
        """At most `limit` events, in the order asked for; and what kept files from being read."""
        ...


class Retirement(Protocol):
    """Days that leave the logs. Every method raises `Unavailable`."""

    async def due(self, before: date, *, kept_too: bool) -> Sequence[LogDay]:
        """The days before that one that the logs still have, oldest first; with `kept_too` also
        those that were detached and kept.
        """
        ...

    def events(self, day: LogDay) -> AsyncGenerator[Sequence[StoredEvent], None]:
        """All of the day, as of one moment, sorted by (order_id, sequence, event_id)."""
        ...

    async def detach(self, day: LogDay, now: datetime) -> bool:
        """Take the day out of its log and keep its table. False: somebody reads the log for long;
        later.
        """
        ...

    async def drop(
        self, file: ArchiveFile, now: datetime, publish: Callable[[], Awaitable[None]]
    ) -> bool:
        """Drop the day that this file holds. `publish` is awaited when the day is locked and has as
        many rows as the file, before the commit.

        False: a row came late, or somebody reads the log for long; nothing was done.
        """
        ...

    async def recorded(self) -> Sequence[ArchiveFile]:
        """The files that hold days of these logs."""
        ...

    async def kept(self) -> Sequence[tuple[LogDay, int, int]]:
        """The days that were detached and kept, each with its rows and its bytes."""
        ...

    async def drop_kept(self, day: LogDay) -> bool:
        """Drop a day that was detached and kept, for ever. False: in use, or none of those."""
        ...


class Telemetry(Protocol):
    """What is counted, for those who watch the service. Never raises, never waits."""

    def webhook(self, space: Space, outcome: str) -> None:
        """A webhook was answered with this outcome."""
        ...

    def webhook_batch(self, size: int) -> None: ...

    def provider_answer(self, space: Space, answer: str) -> None: ...

    def intents(self, found: OpenIntents, now: datetime) -> None: ...

    def partitions(self, health: PartitionHealth) -> None: ...


class UpkeepTelemetry(Protocol):
    """What is told of a round of maintenance. Never raises, never waits."""

    def partitions(self, health: PartitionHealth) -> None: ...

    def logs(self, extents: Sequence[LogExtent], unsealed: Mapping[Space, int]) -> None:
        """`unsealed`: how many days are over and not sealed."""
        ...

    def maintained(self, result: str, seconds: float) -> None: ...

    def retention(self, overdue_days: int) -> None:
        """How many days are past their retention and still there: none, or an alarm."""
        ...


# ── Search: a projection of the logs and of the rows ─────────────────────────────────────────────


class Document(StrEnum):
    """What search holds, each kind in an index of its own."""

    ORDER_EVENT = "order_event"
    DISPUTE_EVENT = "dispute_event"
    ORDER = "order"
    DISPUTE = "dispute"


class LoggedEvent(NamedTuple):
    """An event of either log. `dispute_id`: None of an order's own; `data` as it was recorded."""

    event_id: UUID
    order_id: str
    dispute_id: UUID | None
    sequence: int
    kind: str
    provider_event_id: str | None
    data: str
    created_at: datetime
    correlation_id: str
    position: int


class OrderState(NamedTuple):
    """An order's row, flat. `sequence`: its last event's; `captured_minor` in `capture_currency`;
    `recorded_at`: its first event's time.
    """

    order_id: str
    sequence: int
    user_id: UUID
    status: str
    on_hold: bool
    was_held: bool
    amount_minor: int | None
    currency: str | None
    capture_status: str | None
    captured_minor: int | None
    capture_currency: str | None
    captured_at: datetime | None
    created_at: datetime
    updated_at: datetime
    recorded_at: datetime


class DisputeState(NamedTuple):
    """A dispute's row, flat. `disputed_at`: `opened_at`, or `recorded_at` where the provider never
    said when it was opened; by it disputes are counted in time.
    """

    dispute_id: UUID
    order_id: str
    sequence: int
    user_id: UUID
    status: str
    reason: str
    amount_minor: int
    currency: str
    opened_at: datetime | None
    evidence_due_at: datetime | None
    submitted_at: datetime | None
    closed_at: datetime | None
    submitting_id: str | None
    disputed_at: datetime
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class AsOf:
    """How far an answer's source has come: all that was committed at `time` is in it. The positions
    are the highest in it; a slower transaction may bring lower ones later.
    """

    time: datetime
    order_position: int
    dispute_position: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a projection has of the logs, durably and visibly. `seen` is opaque: the transactions
    that are in it. `build`: which copy of the projection it is about. `missed_events`: those that
    had left the logs before they could be read.
    """

    build: str
    seen: str
    as_of: AsOf
    missed_events: int = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """A piece of the logs, and the rows that its events changed, as they are by now.

    `checkpoint`: the one behind it; `is_last`: nothing more was committed when it was read.
    """

    events: Sequence[LoggedEvent]
    orders: Sequence[OrderState]
    disputes: Sequence[DisputeState]
    checkpoint: Checkpoint
    is_last: bool


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits to be projected: how many events, and since when the oldest."""

    events: int
    oldest_at: datetime | None


@dataclass(frozen=True, slots=True)
class SetAside:
    """A document that the index will never take; `error` repeats nothing of its content."""

    document: Document
    document_id: str
    error: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment of the database: `seen` as a checkpoint has it, and what there is to be projected
    by then, archived days included.
    """

    seen: str
    as_of: AsOf
    counts: Mapping[Document, int]


class EventTail(Protocol):
    """The logs, followed: every event comes, however slow its transaction. Raises `Unavailable`."""

    async def checkpoint(self) -> Checkpoint | None:
        """Where the projection is; None: it is to be built from nothing, since there is none, or
        its checkpoint is another server's.
        """
        ...

    async def after(
        self, checkpoint: Checkpoint, limit: int, *, upto: Moment | None = None
    ) -> Stretch:
        """About `limit` events behind `checkpoint`, one transaction at least; with `upto` none of
        what that moment doesn't see. In the order of each order.
        """
        ...

    async def save(self, old: Checkpoint, new: Checkpoint, rejects: Sequence[SetAside]) -> bool:
        """Move the checkpoint; what was set aside with it. False: it is not at `old` any more."""
        ...

    async def backlog(self, checkpoint: Checkpoint) -> Backlog: ...

    async def rejects(self, build: str) -> Sequence[SetAside]:
        """What was set aside, newest first."""
        ...

    async def reject_count(self, build: str) -> int:
        """How many documents were set aside."""
        ...

    def leading(self) -> AbstractAsyncContextManager[bool]:
        """Whether this process projects meanwhile; at most one does."""
        ...


class WholeLog(Protocol):
    """Everything that is to be projected, for a build from nothing. Raises `Unavailable`."""

    def building(self) -> AbstractAsyncContextManager[bool]:
        """Whether this process builds meanwhile; at most one does."""
        ...

    async def begin(self, build: str) -> Checkpoint:
        """From here on the tail gives what comes later than this moment, however long it takes."""
        ...

    def events(self) -> AsyncGenerator[Sequence[LoggedEvent], None]:
        """All events that were committed when `begin` returned, and some later ones; detached and
        archived days too. Some may come twice.
        """
        ...

    def orders(self) -> AsyncGenerator[Sequence[OrderState], None]: ...

    def disputes(self) -> AsyncGenerator[Sequence[DisputeState], None]: ...

    async def moment(self) -> Moment:
        """Counted as of one moment; reads the logs once."""
        ...

    async def finish(self, checkpoint: Checkpoint, rejects: Sequence[SetAside]) -> None:
        """The built copy is the projection now, and stands at this checkpoint."""
        ...

    async def abandon(self) -> None:
        """Nothing is built any more."""
        ...

    async def sample(
        self, size: int
    ) -> tuple[Sequence[LoggedEvent], Sequence[OrderState], Sequence[DisputeState]]:
        """About so many of each, from all over the logs and tables."""
        ...


class IndexTrouble(Unavailable):
    """The search server is away, slow, full, read-only or answers nonsense; `str` says which."""


class SearchIndex(Protocol):
    """The documents, in the search server. A document is taken once, and never goes back to an
    older version; whatever was written may be written again.

    Every method raises `IndexTrouble`: then some of it may have been done.
    """

    async def build(self) -> str | None:
        """Which build answers under the names that are asked; None: none, or not all of it."""
        ...

    async def write(
        self,
        events: Sequence[LoggedEvent],
        orders: Sequence[OrderState],
        disputes: Sequence[DisputeState],
        *,
        build: str | None = None,
    ) -> Sequence[SetAside]:
        """Durable when it returns, in `build` or the one that answers; what was refused for good.

        A write to a build that is gone raises `IndexTrouble`.
        """
        ...

    async def refresh(self, *, build: str | None = None) -> None:
        """What was written is found by questions from now on."""
        ...

    async def start_build(self, build: str) -> None:
        """Empty indices beside those that answer. Leftovers of other unfinished builds go."""
        ...

    async def counts(self, *, build: str | None = None) -> Mapping[Document, int]: ...

    async def answer_from(self, build: str) -> None:
        """This build answers from now on, in one step; the one before it is dropped."""
        ...

    async def differing(
        self,
        events: Sequence[LoggedEvent],
        orders: Sequence[OrderState],
        disputes: Sequence[DisputeState],
    ) -> Sequence[tuple[Document, str, str]]:
        """Those of these that the index has not, or not like this: kind, id and what is wrong."""
        ...


# ── Search: questions ────────────────────────────────────────────────────────────────────────────


class Word(NamedTuple):
    """A word that must be there; `is_beginning`: a word that begins like this."""

    text: str
    is_beginning: bool = False


class Interval(StrEnum):
    """UTC; a week begins on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class EventsSought:
    """Every word must be among an event's words; an event of any of these orders, of their
    disputes, or of any of these disputes. Newest first, by (created_at, event_id). Half open.
    """

    words: Sequence[Word] = ()
    kinds: Sequence[str] = ()
    order_ids: Sequence[str] = ()
    dispute_ids: Sequence[UUID] = ()
    time_from: datetime | None = None
    time_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class DisputesSought:
    """The window is about `disputed_at`; `months` as 2026-11; `amount_ranges` by name. Newest
    recorded first, by (recorded_at, dispute_id).
    """

    words: Sequence[Word] = ()
    statuses: Sequence[str] = ()
    reasons: Sequence[str] = ()
    currencies: Sequence[str] = ()
    months: Sequence[str] = ()
    amount_ranges: Sequence[str] = ()
    order_ids: Sequence[str] = ()
    time_from: datetime | None = None
    time_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class FoundEvents:
    """`next`: where to go on, if there may be more; a page may be short for all that."""

    events: Sequence[LoggedEvent]
    next: Place | None


@dataclass(frozen=True, slots=True)
class FoundDisputes:
    disputes: Sequence[DisputeState]
    next: Place | None


@dataclass(frozen=True, slots=True)
class Facets:
    """How many of the disputes sought there are in all, and by value."""

    total: int
    statuses: Mapping[str, int]
    reasons: Mapping[str, int]
    currencies: Mapping[str, int]
    months: Mapping[str, int]
    amount_ranges: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AnalyticsAsked:
    """The window is half open; both ends stand on the interval's bounds."""

    interval: Interval
    time_from: datetime
    time_to: datetime
    reasons: Sequence[str] = ()
    currencies: Sequence[str] = ()


class DisputeCell(NamedTuple):
    """Disputes of one currency that were opened (counted at `disputed_at`), won or lost (at
    `closed_at`) in one interval, or for one reason within the window; the other of the two is None.
    """

    start: datetime | None
    reason: str | None
    what: str
    currency: str
    disputes: int
    amount_minor: int


class OrderCell(NamedTuple):
    """Orders of one status, created in one interval; of those, how many are on hold, were ever, and
    were captured.
    """

    start: datetime
    status: str
    orders: int
    on_hold: int
    was_held: int
    captured: int


class SearchSource(Protocol):
    """Who answers questions of search: two of them, the same answers. Raises `Unavailable`, also
    for what took too long.
    """

    name: str

    async def as_of(self) -> AsOf | None:
        """What answers to questions put from now on have at least; None: it can't answer yet."""
        ...

    async def has_event(self, event_id: UUID) -> bool: ...

    async def events(
        self, sought: EventsSought, after: Place | None, limit: int
    ) -> FoundEvents: ...

    async def disputes(
        self, sought: DisputesSought, after: Place | None, limit: int
    ) -> FoundDisputes: ...

    async def facets(self, sought: DisputesSought) -> Facets: ...

    async def dispute_cells(self, asked: AnalyticsAsked) -> Sequence[DisputeCell]:
        """By interval, and by reason. Amounts are exact."""
        ...

    async def order_cells(self, asked: AnalyticsAsked) -> Sequence[OrderCell]:
        """By the provider's `created_at`; `currencies` are the orders' own, `reasons` left out."""
        ...


class SearchTelemetry(Protocol):
    """What is told of the projection. Never raises, never waits."""

    def projected(self, events: int, documents: int, seconds: float) -> None: ...

    def search_lag(self, events: int, seconds: float) -> None:
        """How many events wait, and since when the oldest (0: none waits)."""
        ...

    def search_health(self, degraded: bool, rejects: int, missed_events: int) -> None: ...

    def search_answered(self, source: str, question: str, seconds: float) -> None: ...


# ── Proof and repair ──────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something stored that can't be read back; `why` is for people and repeats no content."""

    why: str


@dataclass(frozen=True, slots=True)
class Logged:
    """An event as it stands in the log. `content_hash` is a webhook's, from its payload."""

    sequence: int
    created_at: datetime
    correlation_id: str
    event: order.Event | dispute.Event | Unreadable
    content_hash: bytes | None = None


@dataclass(slots=True)
class Share:
    """All that is stored about the orders up to `upto`, by `order_id` (a dispute by its order's).

    Events come by sequence. `dispute_ids` are those that the rows bear; `lone_intents` the orders
    with a submission and without a dispute; `strays` disputes with archived events that no order
    leads to. `gone`: days that left the logs and can't be read, and why.
    """

    upto: str
    is_last: bool
    orders: dict[str, Stream[Order] | Unreadable] = field(default_factory=dict)
    disputes: dict[str, Stream[Dispute] | Unreadable] = field(default_factory=dict)
    dispute_ids: dict[str, UUID] = field(default_factory=dict)
    order_events: dict[str, list[Logged]] = field(default_factory=dict)
    dispute_events: dict[str, list[Logged]] = field(default_factory=dict)
    known: dict[WebhookId, Known] = field(default_factory=dict)
    parked: dict[str, list[Parked | Unreadable]] = field(default_factory=dict)
    lone_intents: set[str] = field(default_factory=set)
    strays: set[UUID] = field(default_factory=set)
    gone: dict[LogDay, str] = field(default_factory=dict)


@dataclass(slots=True)
class Repairs:
    """What is written over damaged rows: first all in `wiped_…` goes, then the rest is written.

    A wiped dispute goes with its evidence and submissions, a wiped order with its captures. What is
    to be written is written whole; its captures and submissions are those in `attempts`.
    """

    orders: dict[str, Stream[Order]] = field(default_factory=dict)
    disputes: dict[str, Stream[Dispute]] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    known: dict[WebhookId, tuple[Known, datetime]] = field(default_factory=dict)
    wiped_orders: set[str] = field(default_factory=set)
    wiped_disputes: set[str] = field(default_factory=set)
    wiped_ids: set[WebhookId] = field(default_factory=set)


class Walk(Protocol):
    """A walk over all that is stored, share by share, in the order of the orders' ids."""

    async def size(self) -> int:
        """How many orders there are to walk over: for a progress bar."""
        ...

    async def lost_disputes(self) -> dict[UUID, str | None]:
        """The disputes that have events and no row, each with the order that its events name."""
        ...

    async def share(self, after: str, lost: Collection[str]) -> Share:
        """The next few hundred orders behind `after`, and those of `lost` among them."""
        ...

    async def repair(self, repairs: Repairs) -> None: ...


class Audit(Protocol):
    """What proves and repairs. Raises `Unavailable`."""

    def reading(self) -> AbstractAsyncContextManager[Walk]:
        """All shares as of one moment, beside writers that go on; nothing can be repaired."""
        ...

    def repairing(self) -> AbstractAsyncContextManager[Walk]:
        """One share, whose orders are locked before it is read and until the repair is durable."""
        ...
