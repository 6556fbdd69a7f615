"""Every code that an error may have is explained, to people and to programs."""

from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from payment_manager.domain.rejections import Rejection
from payment_manager.entrypoints.api.openapi import ROUTES
from payment_manager.entrypoints.api.problems import STATUS_OF
from payment_manager.entrypoints.http.problem_pages import PROBLEMS, explain_problem

# These don't depend on the route, so no route lists them.
OF_ANY_REQUEST = {"method_not_allowed", "internal_error"}


def kinds_of(rejection: type[Rejection]) -> Iterator[type[Rejection]]:
    for kind in rejection.__subclasses__():
        yield kind
        yield from kinds_of(kind)


REJECTIONS = {kind.code: kind for kind in kinds_of(Rejection) if kind.code != Rejection.code}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Litestar]]:
    app = Litestar([explain_problem], openapi_config=None, logging_config=None)
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("code", REJECTIONS)
def test_every_rejection_is_in_the_table_with_the_status_it_gets(code: str) -> None:
    status = next(
        status for kind, status in STATUS_OF.items() if issubclass(REJECTIONS[code], kind)
    )
    assert PROBLEMS[code].status == status


def test_every_code_is_answered_by_some_route() -> None:
    answered = {code for route in ROUTES for code in route.problems}
    assert answered | OF_ANY_REQUEST == set(PROBLEMS)


@pytest.mark.parametrize("code", PROBLEMS)
def test_programs_get_json_and_browsers_a_page(client: TestClient[Litestar], code: str) -> None:
    kind = PROBLEMS[code]
    as_json = client.get(f"/problems/{code}", headers={"accept": "*/*"})
    assert as_json.json() == {
        "code": code,
        "status": kind.status,
        "title": kind.title,
        "meaning": kind.meaning,
        "remedy": kind.remedy,
    }
    page = client.get(f"/problems/{code}", headers={"accept": "text/html,*/*;q=0.8"})
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<h1>{kind.title}</h1>" in page.text.replace("&#x27;", "'")


def test_a_code_that_does_not_exist_is_not_found(client: TestClient[Litestar]) -> None:
    assert client.get("/problems/no_such_code").status_code == 404
