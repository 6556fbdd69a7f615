"""The OpenAPI document is valid, and says what the code does.

How to think about it: the document is read as a client gets it, after JSON. What it calls valid is
made up by a generator and given to the code that reads requests, and so is what it calls invalid;
the two may differ only by the rules that JSON Schema can't say, which are listed here.
"""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import cache, partial
from typing import Any, get_args

import jsonschema_rs
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.core import NotSet

from payment_manager.contracts import api
from payment_manager.contracts.webhooks import read_chargeback_webhook, read_order_webhook
from payment_manager.contracts.wire import InvalidInput, Model, check, parse
from payment_manager.domain.currencies import MINOR_UNITS
from payment_manager.entrypoints.api import openapi_schemas
from payment_manager.entrypoints.api.disputes import dispute_handlers
from payment_manager.entrypoints.api.docs import ASSETS, docs_handlers
from payment_manager.entrypoints.api.openapi import ROUTES, document
from payment_manager.entrypoints.api.orders import order_handlers
from payment_manager.entrypoints.api.search import search_handlers
from payment_manager.entrypoints.api.services import Services
from payment_manager.entrypoints.http.operations import operation_handlers
from payment_manager.entrypoints.http.problem_pages import explain_problem
from payment_manager.entrypoints.http.webhooks import webhook_routes

DOCUMENT: dict[str, Any] = json.loads(msgspec.json.encode(document("1.2.3")))

Reader = Callable[[bytes], object]


def model_reader(model: type[Model]) -> Reader:
    return lambda body: check(model, parse(body))


READERS: dict[str, Reader] = {
    "takeOrderWebhook": read_order_webhook,
    "takeChargebackWebhook": read_chargeback_webhook,
    "holdOrder": model_reader(api.HoldRequest),
    "captureOrder": model_reader(api.CaptureRequest),
    "replaceEvidence": model_reader(api.EvidenceRequest),
    "submitEvidence": model_reader(api.SubmitRequest),
}

# What the descriptions say, because JSON Schema can't.
RULES_IN_WORDS = (
    "decimals in this currency",
    "digits, counted in the smallest unit",
    "must name each file_id once",
)


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for below in value.values() if isinstance(value, dict) else value:
        if isinstance(below, dict | list):
            yield from nodes(below)


def resolved(reference: str) -> Any:
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def validator(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    whole = {"allOf": [schema], "components": DOCUMENT["components"]}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def examples() -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Where it stands, the schema, the value."""
    for method, path, operation in operations():
        bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for name, body in bodies.items():
            for media_type, content in body.get("content", {}).items():
                for each, example in content.get("examples", {}).items():
                    place = f"{method} {path} {name} {media_type} {each}"
                    yield place, content["schema"], example["value"]
        for parameter in operation["parameters"]:
            parameter = resolved(parameter["$ref"]) if "$ref" in parameter else parameter
            if "example" in parameter:
                place = f"{method} {path} {parameter['name']}"
                yield place, parameter["schema"], parameter["example"]
    for name, header in DOCUMENT["components"]["headers"].items():
        if "example" in header:
            yield name, header["schema"], header["example"]
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for value in schema.get("examples", ()):
            yield name, schema, value


# ── The document in itself ────────────────────────────────────────────────────────────────────────


def test_it_is_valid_openapi() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()


def test_it_names_the_service_version() -> None:
    assert DOCUMENT["info"]["version"] == "1.2.3"


def test_every_reference_leads_somewhere() -> None:
    references = {node["$ref"] for node in nodes(DOCUMENT) if isinstance(node.get("$ref"), str)}
    assert references
    for reference in references:
        assert resolved(reference), reference


def test_every_shared_part_is_used() -> None:
    text = json.dumps(DOCUMENT)
    for kind, parts in DOCUMENT["components"].items():
        for name in parts:
            assert f'"#/components/{kind}/{name}"' in text, f"{kind}/{name}"


def test_every_operation_has_an_id_of_its_own() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids)) == len(ROUTES)


@pytest.mark.parametrize(
    ("schema", "value"), [pytest.param(*case, id=place) for place, *case in examples()]
)
def test_the_example_fits_its_schema(schema: dict[str, Any], value: Any) -> None:
    validator(schema).validate(value)


def test_every_problem_is_problem_json_with_an_example_of_each_code() -> None:
    for method, path, operation in operations():
        for status, answer in operation["responses"].items():
            if status[0] != "4" and (status != "503" or path.startswith("/health/")):
                continue
            (media_type, content), *others = answer["content"].items()
            assert (media_type, others) == ("application/problem+json", []), f"{method} {path}"
            for code, example in content["examples"].items():
                assert example["value"]["status"] == int(status)
                assert example["value"]["type"] == f"/problems/{code}"


def test_every_503_of_a_problem_says_when_to_retry() -> None:
    for _, path, operation in operations():
        answer = operation["responses"].get("503")
        if answer is not None and not path.startswith("/health/"):
            assert "Retry-After" in answer["headers"], path


# ── The document and the code ─────────────────────────────────────────────────────────────────────


def test_it_has_exactly_the_routes_of_the_service() -> None:
    nothing: Any = None  # routes are made here, and not asked anything
    services = Services(nothing, nothing, nothing, nothing, nothing, nothing)
    handlers: list[Any] = [
        *order_handlers(services),
        *dispute_handlers(services),
        *search_handlers(services),
        *operation_handlers(nothing, nothing),
        *docs_handlers,
        explain_problem,
    ]
    served = {
        (method.lower(), path.replace(":str}", "}"))
        for handler in handlers
        for path in handler.paths
        for method in handler.http_methods
        if not path.startswith(ASSETS)
    } | {("post", path) for path in webhook_routes(nothing, nothing)}
    assert {(method, path) for method, path, _ in operations()} == served


@pytest.mark.parametrize("operation_id", READERS)
def test_every_request_example_is_taken(operation_id: str) -> None:
    (operation,) = (each for _, _, each in operations() if each["operationId"] == operation_id)
    for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
        READERS[operation_id](json.dumps(example["value"]).encode())


def test_every_operation_with_a_body_is_tried_here() -> None:
    with_body = {each["operationId"] for _, _, each in operations() if "requestBody" in each}
    assert with_body == set(READERS)


def test_currencies_are_named_one_by_one() -> None:
    assert set(DOCUMENT["components"]["schemas"]["Currency"]["enum"]) == set(MINOR_UNITS)
    for request in ("ChargebackWebhook", "CaptureRequest"):
        currency = DOCUMENT["components"]["schemas"][request]["properties"]["currency"]
        assert currency == {"$ref": "#/components/schemas/Currency"}


@pytest.mark.parametrize("answer", openapi_schemas.ANSWERS, ids=lambda answer: answer.__name__)
def test_money_is_a_number_and_time_a_time_in_answers(answer: type[msgspec.Struct]) -> None:
    shown = DOCUMENT["components"]["schemas"][answer.__name__]["properties"]
    assert list(shown) == [field.encode_name for field in msgspec.structs.fields(answer)]
    for field in msgspec.structs.fields(answer):
        types = {field.type, *get_args(field.type)}
        if Decimal in types:
            assert {"type": "number"} in (shown[field.name], *shown[field.name].get("anyOf", ()))
        assert ("#/components/schemas/Time" in str(shown[field.name])) == (datetime in types)


# ── What it calls valid, and what it calls invalid ────────────────────────────────────────────────


@cache
def generated() -> Any:
    """The document as a generator of requests, with times in the years that its words allow."""
    seconds = st.floats(86_400, 130 * 365.25 * 86_400)  # since 1970, whatever the offset
    zones = st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours)))
    times = st.builds(datetime.fromtimestamp, seconds, zones).map(datetime.isoformat)
    schemathesis.openapi.format("date-time", times)
    return schemathesis.openapi.from_dict(DOCUMENT)


def bodies(operation_id: str, mode: GenerationMode) -> st.SearchStrategy[bytes]:
    operation = generated().find_operation_by_id(operation_id)
    cases: st.SearchStrategy[Case[Any]] = operation.as_strategy(generation_mode=mode)
    return cases.filter(partial(has_a_body, mode=mode)).map(body_of)


def has_a_body(case: Case[Any], mode: GenerationMode) -> bool:
    """Of a negative case any part may be the wrong one; here the body must be."""
    parts = case.meta.components if case.meta else {}
    (body,) = [part for place, part in parts.items() if place.value == "body"] or (None,)
    return body is not None and body.mode is mode and not isinstance(case.body, NotSet)


def body_of(case: Case[Any]) -> bytes:
    return case.body if isinstance(case.body, bytes) else json.dumps(case.body).encode()


FEW = settings(
    max_examples=15,
    database=None,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("operation_id", READERS)
def test_what_it_calls_valid_is_taken(operation_id: str) -> None:
    @given(body=bodies(operation_id, GenerationMode.POSITIVE))
    @FEW
    def taken(body: bytes) -> None:
        try:
            READERS[operation_id](body)
        except InvalidInput as invalid:
            for error in invalid.errors:
                assert any(rule in error.message for rule in RULES_IN_WORDS), (error, body)

    taken()


@pytest.mark.parametrize("operation_id", READERS)
def test_what_it_calls_invalid_is_refused(operation_id: str) -> None:
    @given(body=bodies(operation_id, GenerationMode.NEGATIVE))
    @FEW
    def refused(body: bytes) -> None:
        with pytest.raises(InvalidInput):
            READERS[operation_id](body)

    refused()
