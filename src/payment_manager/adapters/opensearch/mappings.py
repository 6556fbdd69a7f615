"""What the indices look like.

How to think about it: nothing is analysed and nothing is guessed. A document's words are made by
us, the same for every source of answers, and stand in a keyword field; a field that is not named
here is refused (`strict`). A change of anything here is a new `MAPPING_VERSION`: the next projector
then builds all anew beside the old.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from payment_manager.application.ports import Document

MAPPING_VERSION = 1

_KEYWORD = {"type": "keyword"}
# Found by, and never counted or sorted by.
_WORDS = {"type": "keyword", "doc_values": False}
# Only shown.
_STORED = {"type": "keyword", "index": False, "doc_values": False}
_INTEGER = {"type": "integer"}
_LONG = {"type": "long"}
# Indexed in milliseconds; the document keeps its microseconds.
_DATE = {"type": "date"}
_BOOLEAN = {"type": "boolean"}

_EVENT = {
    "event_id": _KEYWORD,
    "order_id": _KEYWORD,
    "sequence": _INTEGER,
    "kind": _KEYWORD,
    "provider_event_id": _KEYWORD,
    "correlation_id": _KEYWORD,
    "position": _LONG,
    "created_at": _DATE,
    "recorded_us": _LONG,
    "words": _WORDS,
    "data": _STORED,
}

_ORDER = {
    "order_id": _KEYWORD,
    "user_id": _KEYWORD,
    "sequence": _INTEGER,
    "status": _KEYWORD,
    "on_hold": _BOOLEAN,
    "was_held": _BOOLEAN,
    "amount_minor": _LONG,
    "currency": _KEYWORD,
    "capture_status": _KEYWORD,
    "captured_minor": _LONG,
    "capture_currency": _KEYWORD,
    "captured_at": _DATE,
    "created_at": _DATE,
    "updated_at": _DATE,
    "recorded_at": _DATE,
}

_DISPUTE = {
    "dispute_id": _KEYWORD,
    "order_id": _KEYWORD,
    "user_id": _KEYWORD,
    "sequence": _INTEGER,
    "status": _KEYWORD,
    "reason": _KEYWORD,
    "amount_minor": _LONG,
    "amount_high": _LONG,
    "amount_low": _LONG,
    "amount_range": _KEYWORD,
    "currency": _KEYWORD,
    "month": _KEYWORD,
    "opened_at": _DATE,
    "evidence_due_at": _DATE,
    "submitted_at": _DATE,
    "closed_at": _DATE,
    "submitting_id": _KEYWORD,
    "disputed_at": _DATE,
    "disputed_us": _LONG,
    "recorded_at": _DATE,
    "recorded_us": _LONG,
    "words": _WORDS,
}

FIELDS: Mapping[Document, Mapping[str, Any]] = MappingProxyType(
    {
        Document.ORDER_EVENT: _EVENT,
        Document.DISPUTE_EVENT: {**_EVENT, "dispute_id": _KEYWORD},
        Document.ORDER: _ORDER,
        Document.DISPUTE: _DISPUTE,
    }
)

_SETTINGS = {
    # Exact counts and one order of equal values; our documents fit in one many times over.
    "number_of_shards": 1,
    # A second copy where there is a second node.
    "auto_expand_replicas": "0-1",
    # The projector refreshes, so that its checkpoint says what is visible.
    "refresh_interval": "-1",
    # On the disk before it is acknowledged: the checkpoint goes on after that.
    "translog.durability": "request",
    # Segment replication, which a cluster may have for its default, shows a refresh on the second
    # copy later than on the first.
    "replication.type": "DOCUMENT",
}


def index_of(document: Document, build: str) -> dict[str, Any]:
    """Settings and mapping of an index of this build, as it is to be made."""
    return {
        "settings": {"index": _SETTINGS},
        "mappings": {
            "dynamic": "strict",
            "_meta": {"build": build, "version": MAPPING_VERSION, "document": document},
            "properties": FIELDS[document],
        },
    }
