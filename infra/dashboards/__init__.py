"""The dashboard for OpenSearch Dashboards, and how it gets there.

How to think about it: `payments.ndjson` is in the form that Dashboards exports and imports, one
saved object a line, so it is changed by changing it there. What an installation decides isn't in
it: the indices' names come from the settings and their fields from our mappings, written in at the
import. The ids stay, so that a second import replaces the first.

    Exception
    └── ImportFailed    Dashboards isn't there, isn't ready, or wouldn't take it
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from payment_manager.adapters.opensearch.mappings import FIELDS
from payment_manager.application.ports import Document
from payment_manager.settings import Settings

SAVED_OBJECTS = Path(__file__).parent / "payments.ndjson"
DASHBOARD = "payments-overview"

_IMPORT_SECONDS_MAX = 60.0

# The index patterns' titles in the file, which are the names that the settings have by default.
_DOCUMENTS = {
    "events-orders": Document.ORDER_EVENT,
    "events-disputes": Document.DISPUTE_EVENT,
    "orders": Document.ORDER,
    "disputes": Document.DISPUTE,
}

# As Dashboards calls the types of our mappings.
_KINDS = {
    **{"keyword": "string", "integer": "number", "long": "number"},
    **{"date": "date", "boolean": "boolean"},
}

SavedObject = dict[str, Any]


class ImportFailed(Exception):
    """Told to the person at the terminal as it stands."""


def saved_objects(settings: Settings) -> list[SavedObject]:
    """What is to be imported, for the indices that these settings name."""
    names = {
        Document.ORDER_EVENT: settings.opensearch_index_orders,
        Document.DISPUTE_EVENT: settings.opensearch_index_disputes,
        Document.ORDER: settings.opensearch_index_order_states,
        Document.DISPUTE: settings.opensearch_index_dispute_states,
    }
    objects: list[SavedObject] = [
        json.loads(line) for line in SAVED_OBJECTS.read_text(encoding="utf-8").splitlines()
    ]
    for pattern in (found for found in objects if found["type"] == "index-pattern"):
        attributes = pattern["attributes"]
        document = _DOCUMENTS[attributes["title"]]
        scripted = json.loads(attributes.get("fields", "[]"))
        attributes["title"] = names[document]
        # Without a list of fields, Dashboards asks for one only when somebody opens the pattern
        # itself: until then every panel would miss its fields.
        attributes["fields"] = json.dumps([*_fields(FIELDS[document]), *scripted])
    return objects


def import_into(url: str, objects: Sequence[SavedObject]) -> None:
    """Put them into the Dashboards at `url`, over those of the same ids. Raises ImportFailed."""
    lines = "".join(f"{json.dumps(found)}\n" for found in objects)
    try:
        answer = httpx.post(
            f"{url.rstrip('/')}/api/saved_objects/_import",
            params={"overwrite": "true"},
            headers={"osd-xsrf": "true"},  # what comes without it might come from another site
            files={"file": (SAVED_OBJECTS.name, lines.encode(), "application/x-ndjson")},
            timeout=_IMPORT_SECONDS_MAX,
            trust_env=False,
        )
    except httpx.ConnectError as error:
        raise ImportFailed(
            f"Nothing answers at {address(url)} ({error}).\n"
            "Start Dashboards with `make start_containers search=1` (Docker), or say where it is: "
            "make import-dashboards url=http://…"
        ) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ImportFailed(f"Dashboards gave no answer: {type(error).__name__} {error}") from error
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        raise ImportFailed(f"Dashboards at {address(url)} isn't ready yet; ask again in a moment.")
    if not answer.is_success:
        raise ImportFailed(f"Dashboards refused: {answer.status_code} {answer.text[:500]}")
    _check(answer, objects)


def address(url: str) -> str:
    """`url` without the password that may stand in it."""
    return str(httpx.URL(url).copy_with(userinfo=b"")).rstrip("/")


def _check(answer: httpx.Response, objects: Sequence[SavedObject]) -> None:
    """Success is said in the answer's text, object by object: its status is 200 in any case."""
    try:
        said = answer.json()
        errors, count = said.get("errors", []), said["successCount"]
        refused = [f"  {each['type']} {each['id']}: {_reason(each['error'])}" for each in errors]
        is_whole = said["success"] is True and count == len(objects)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ImportFailed(f"This is no Dashboards: it says {answer.text[:200]!r}") from error
    if not is_whole:
        raise ImportFailed(
            "\n".join([f"Dashboards took {count} of {len(objects)} objects:", *refused])
        )


def _reason(error: Mapping[str, Any]) -> str:
    missing = ", ".join(f"{each['type']} {each['id']}" for each in error.get("references", ()))
    return " ".join(filter(None, [error["type"], missing, error.get("message")]))


def _fields(mapping: Mapping[str, Any]) -> Iterable[SavedObject]:
    yield _field("_id", "string", "_id", searchable=True, aggregatable=True, doc_values=False)
    yield _field("_index", "string", "_index", searchable=True, aggregatable=True, doc_values=False)
    yield _field(
        "_source", "_source", "_source", searchable=False, aggregatable=False, doc_values=False
    )
    for name, said in mapping.items():
        doc_values = said.get("doc_values", True)
        yield _field(
            name,
            _KINDS[said["type"]],
            said["type"],
            searchable=said.get("index", True),
            aggregatable=doc_values,
            doc_values=doc_values,
        )


def _field(
    name: str, kind: str, mapped: str, *, searchable: bool, aggregatable: bool, doc_values: bool
) -> SavedObject:
    return {
        **{"name": name, "type": kind, "esTypes": [mapped], "count": 0, "scripted": False},
        **{"searchable": searchable, "aggregatable": aggregatable},
        "readFromDocValues": doc_values,
    }
