"""The documentation page works without the internet, and nothing on it may reach for it."""

import re
from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from payment_manager.entrypoints.api.docs import ASSETS, docs_handlers


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Litestar]]:
    app = Litestar(docs_handlers, openapi_config=None, logging_config=None)
    with TestClient(app) as client:
        yield client


def references(html: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]*)"', html)


def test_all_that_the_page_refers_to_is_served_here(client: TestClient[Litestar]) -> None:
    found = references(client.get("/docs").text)
    assert f"{ASSETS}/swagger-ui-bundle.js" in found
    for reference in found:
        assert reference.startswith("/"), reference
        assert client.get(reference).status_code == 200, reference


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("swagger-ui.css", "text/css"),
        ("swagger-ui-bundle.js", "text/javascript"),
        ("favicon-32x32.png", "image/png"),
    ],
)
def test_an_asset_has_its_type_and_may_be_kept(
    client: TestClient[Litestar], name: str, media_type: str
) -> None:
    answer = client.get(f"{ASSETS}/{name}")
    assert answer.headers["content-type"].startswith(media_type)
    assert "immutable" in answer.headers["cache-control"]
    assert re.fullmatch(r"/docs/swagger-ui-[0-9.]+", ASSETS)  # a new version has a new path
    assert len(answer.content) > 500


def test_page_and_styles_load_nothing_from_another_host(client: TestClient[Litestar]) -> None:
    assert "//" not in client.get("/docs").text
    styles = client.get(f"{ASSETS}/swagger-ui.css").text
    assert "@import" not in styles
    assert all(url.startswith("data:") for url in re.findall(r"url\(['\"]?([^)]*)", styles))


def test_browsers_are_told_to_load_nothing_from_another_host(client: TestClient[Litestar]) -> None:
    policy = client.get("/docs").headers["content-security-policy"]
    directives = dict(each.split(" ", 1) for each in policy.split("; "))
    assert directives["default-src"] == "'none'"
    for sources in directives.values():
        for source in sources.split(" "):
            assert re.fullmatch(r"'none'|'self'|data:|'sha256-[A-Za-z0-9+/=]{44}'", source)
    assert "data:" not in directives["script-src"]


def test_other_files_are_not_served(client: TestClient[Litestar]) -> None:
    for name in ("index.html", "swagger-ui.js.map", "..%2F__init__.py", "%2e%2e"):
        assert client.get(f"{ASSETS}/{name}").status_code == 404


def test_the_document_is_json(client: TestClient[Litestar]) -> None:
    answer = client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["openapi"] == "3.1.0"
