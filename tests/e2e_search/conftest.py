"""Search as a whole: real services, a real OpenSearch, and logs that stay clean."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.opensearch_server import OpenSearchServer
from tests.e2e_search.searched import Searched
from tests.opensearch import IndexNames, node_at

Search = Callable[..., Searched]

TIMEOUT_SECONDS = 900
"""The longest take half a minute: nodes are started again and again. A busy machine takes many
times as long, and each wait says sooner what it waits for.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSearchServer]:
    """The module's own OpenSearch. Its tests may do anything to it, and leave it up and well."""
    with node_at(tmp_path_factory.mktemp("opensearch")) as server:
        yield server


@pytest.fixture
def search(node: OpenSearchServer, index_names: IndexNames, tmp_path: Path) -> Iterator[Search]:
    """Makes a service with this search, not started yet; gone when the test ends."""
    made: list[Searched] = []

    def make(**settings: str) -> Searched:
        made.append(Searched(tmp_path / f"search-{len(made)}", node, index_names, **settings))
        return made[-1]

    yield make
    for searched in made:
        searched.clean_up()
