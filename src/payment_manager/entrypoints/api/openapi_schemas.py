"""JSON Schemas of what the API takes and gives, made from the types that read and write it.

How to think about it: pydantic describes the requests, msgspec the answers; what neither can say
(which currencies exist, that no text holds NUL, that a decimal is written as a number) is added
here. Every small schema that means something has a name, so that it is explained once.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from payment_manager.application.search_terms import AMOUNT_RANGES
from payment_manager.contracts import api, search
from payment_manager.contracts.events import DISPUTE_KINDS, ORDER_KINDS
from payment_manager.contracts.webhooks import RESOLUTIONS, ChargebackWebhook, OrderWebhook
from payment_manager.contracts.wire import Model
from payment_manager.domain.currencies import MINOR_UNITS
from payment_manager.domain.money import MINOR_DIGITS_MAX
from payment_manager.entrypoints.http.operations import Health

Json = dict[str, Any]

REQUESTS: tuple[type[Model], ...] = (
    OrderWebhook,
    ChargebackWebhook,
    api.HoldRequest,
    api.CaptureRequest,
    api.EvidenceRequest,
    api.SubmitRequest,
)
ANSWERS: tuple[type[msgspec.Struct], ...] = (
    api.WebhookAnswer,
    api.OrderView,
    api.OrderEventView,
    api.HoldAnswer,
    api.CaptureAnswer,
    api.DisputeView,
    api.DisputeEventView,
    api.EvidenceView,
    api.SubmitAnswer,
    search.EventsAnswer,
    search.DisputesAnswer,
    search.DisputeAnalyticsAnswer,
    search.OrderAnalyticsAnswer,
    api.Problem,
    Health,
)

_NO_NUL = "^[^\\u0000]*$"


def ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


# ── Small schemas with a name ─────────────────────────────────────────────────────────────────────

NAMED: dict[str, Json] = {
    "Text": {
        "type": "string",
        "pattern": _NO_NUL,
        "description": "Any text without NUL characters (and, as JSON asks, whole in Unicode).",
    },
    "JsonValue": {
        "description": "Any JSON value whose texts hold no NUL. Nested at most 64 deep with all "
        "that surrounds it; numbers have at most 4300 digits.",
        "anyOf": [
            {"type": ["null", "boolean", "number"]},
            ref("Text"),
            {"type": "array", "items": ref("JsonValue")},
            {
                "type": "object",
                "propertyNames": {"pattern": _NO_NUL},
                "additionalProperties": ref("JsonValue"),
            },
        ],
    },
    "Time": {
        "type": "string",
        "format": "date-time",
        "description": "RFC 3339 with an offset, in the years 1970 to 2100. Digits finer than "
        "microseconds are cut. Answers are in UTC.",
        "examples": ["2026-01-02T10:00:00Z"],
    },
    "Currency": {
        "type": "string",
        "enum": sorted(MINOR_UNITS),
        "description": "The ISO 4217 code of a currency with minor units, in upper case.",
        "examples": ["USD"],
    },
    "Amount": {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 10**MINOR_DIGITS_MAX - 1,
        "description": "Money in major units. It may have as many decimals as the currency has "
        "(USD 2, JPY 0, KWD 3; the value counts, so 100.500 USD is fine), and at most "
        f"{MINOR_DIGITS_MAX} digits when counted in the smallest unit.",
        "examples": [100.50],
    },
    "OrderId": {
        "type": "string",
        "pattern": "^[A-Za-z0-9][A-Za-z0-9._:~@=+-]{0,254}$",
        "not": {"const": "events"},
        "description": "The order's id at the provider. Not `events`, which is a route.",
        "examples": ["ord-1001"],
    },
    "OrderEventKind": {"type": "string", "enum": list(ORDER_KINDS)},
    "DisputeEventKind": {"type": "string", "enum": list(DISPUTE_KINDS)},
    "EventKind": {"type": "string", "enum": sorted({*ORDER_KINDS, *DISPUTE_KINDS})},
    "AmountRange": {
        "type": "string",
        "enum": list(AMOUNT_RANGES),
        "description": "From the first number up to and without the second, in major units of "
        "whatever currency the amount has.",
    },
}

# ── Requests ──────────────────────────────────────────────────────────────────────────────────────


def _by_letter_case(word: str) -> str:
    return "".join(f"[{letter}{letter.upper()}]" for letter in word)


# What two fields of a request have to do with each other: one of these must fit as well.
_VARIANTS: dict[str, list[Json]] = {
    "ChargebackWebhook": [
        {"title": "Opened or updated", "properties": {"status": {"enum": ["opened", "updated"]}}},
        {
            "title": "Closed: in `meta.resolution` it may say how, in any letter case",
            "properties": {
                "status": {"const": "closed"},
                "meta": {
                    "properties": {
                        "resolution": {
                            "type": "string",
                            "pattern": f"^({'|'.join(map(_by_letter_case, RESOLUTIONS))})$",
                        }
                    }
                },
            },
        },
    ],
    "HoldRequest": [
        {
            "title": "Set: with a reason",
            "properties": {"action": {"const": "set"}, "reason": {"type": "string"}},
            "required": ["reason"],
        },
        {"title": "Clear", "properties": {"action": {"const": "clear"}}},
    ],
    "EvidenceRequest": [
        {"title": "Fields", "properties": {"fields": {"type": "object"}}, "required": ["fields"]},
        {"title": "Files", "properties": {"files": {"type": "array"}}, "required": ["files"]},
    ],
}


def _request_schema(node: Json) -> Json:
    """One node of pydantic's schema as it is shown; the nodes below it are done already."""
    node.pop("title", None)  # only the field's name again
    if node.get("default", ...) is None:
        del node["default"]  # null says no more than leaving it out
    match node:
        case {"type": "string", "pattern": pattern} if pattern == NAMED["OrderId"]["pattern"]:
            return ref("OrderId")
        case {"type": "string", "format": "date-time"}:
            return ref("Time")
        case {"type": "number", "exclusiveMinimum": 0}:
            return ref("Amount")
        case {"type": "string", **rest} if not rest:
            return ref("Text")
        case {"type": "array", "items": items} if items == ref("EvidenceFileModel"):
            return node | {"uniqueItems": True, "description": "Each `file_id` stands once."}
        case {"type": "object", "patternProperties": by_pattern}:
            # Names outside of the pattern are refused, which patternProperties alone doesn't say.
            ((pattern, values),) = by_pattern.items()
            del node["patternProperties"]
            return node | {"propertyNames": {"pattern": pattern}, "additionalProperties": values}
        case {"type": "object"}:
            # Fields that we don't know are kept, so they must be fit to be kept.
            return node | {
                "propertyNames": {"pattern": _NO_NUL},
                "additionalProperties": ref("JsonValue"),
            }
        case _:
            return node


def _requests() -> Iterator[tuple[str, Json]]:
    for model in REQUESTS:
        made = model.model_json_schema(ref_template=ref("{model}")["$ref"])
        for name, below in made.pop("$defs", {}).items():
            yield name, _rewritten(below, _request_schema)
        schema = _rewritten(made, _request_schema)
        if "currency" in schema["properties"]:
            schema["properties"]["currency"] = ref("Currency")
        if model.__name__ in _VARIANTS:
            schema["anyOf"] = _VARIANTS[model.__name__]
        yield model.__name__, schema


# ── Answers ───────────────────────────────────────────────────────────────────────────────────────


def _answer_schema(node: Json) -> Json:
    """One node of msgspec's schema as `contracts.api.encode` writes it."""
    node.pop("title", None)
    if node.get("default", ...) is None:
        del node["default"]  # it is left out then
    match node:
        case {"type": "string", "format": "decimal"}:
            return {"type": "number"}
        case {"enum": [*values]} if all(isinstance(value, str) for value in values):
            return {"type": "string"} | node
        case _:
            return node


# What is called one of these, or ends with _at, is a time, and nothing else is.
_TIMES = ("time", "start", "time_from", "time_to")


def _time_or_null(node: Json) -> Json:
    return {"anyOf": [ref("Time"), {"type": "null"}]} if "anyOf" in node else ref("Time")


_KINDS_OF = {
    "OrderEventView": "OrderEventKind",
    "DisputeEventView": "DisputeEventKind",
    "FoundEventView": "EventKind",
}


def _answers() -> Iterator[tuple[str, Json]]:
    _, made = msgspec.json.schema_components(ANSWERS, ref_template=ref("{name}")["$ref"])
    for name, below in made.items():
        schema = _rewritten(below, _answer_schema)
        properties = schema["properties"]
        for field, node in properties.items():
            if field.endswith("_at") or field in _TIMES:
                properties[field] = _time_or_null(node)
        if "kind" in properties:
            properties |= {"kind": ref(_KINDS_OF[name]), "data": {"type": "object"}}
        yield name, schema


# ── All of them ───────────────────────────────────────────────────────────────────────────────────


def page_of(item: str) -> Json:
    return {
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": ref(item)},
            "next_cursor": {
                "type": "string",
                "description": "For the parameter `cursor`, with the same filter. Empty on the "
                "last page.",
            },
            "has_more": {"type": "boolean"},
        },
        "required": ["items", "next_cursor", "has_more"],
    }


def _rewritten(schema: Any, rewrite: Callable[[Json], Json]) -> Any:
    """The schema with every node below it, and then itself, rewritten."""
    if isinstance(schema, list):
        return [_rewritten(each, rewrite) for each in schema]
    if not isinstance(schema, dict):
        return schema
    # These two are no schemas: their keys are names of fields, and may be `type` or `title`.
    by_name = {"properties", "patternProperties"}
    return rewrite(
        {
            key: {name: _rewritten(each, rewrite) for name, each in below.items()}
            if key in by_name
            else _rewritten(below, rewrite)
            for key, below in schema.items()
        }
    )


def schemas() -> dict[str, Json]:
    """Every schema of `#/components/schemas`, by its name."""
    return {**dict(_requests()), **dict(_answers()), **NAMED}
