"""The WireMock that tests start: one address for life, and its reasons in words."""

from collections.abc import Iterator

import httpx
import pytest

from infra import wiremock_server
from infra.wiremock_server import WireMockServer, WireMockServerError

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server() -> Iterator[WireMockServer]:
    reason = wiremock_server.why_not()
    if reason is not None:
        pytest.skip(f"no WireMock: {reason}")
    with WireMockServer() as server:
        yield server


def stubs_of(server: WireMockServer) -> int:
    mappings = httpx.get(f"{server.url}/__admin/mappings", trust_env=False, timeout=60).json()
    return int(mappings["meta"]["total"])


def test_a_restart_keeps_the_address_and_the_stubs(server: WireMockServer) -> None:
    url, stubs = server.url, stubs_of(server)
    assert stubs
    # While it is down, nobody's outgoing connection may get its port.
    assert (httpx.URL(url).port or 0) < 32_000
    server.stop()
    assert not server.is_alive
    server.stop()
    server.start()
    assert server.is_alive
    assert (server.url, stubs_of(server)) == (url, stubs)


def test_a_taken_port_is_named_instead_of_its_owner_being_taken_for_ours(
    server: WireMockServer,
) -> None:
    port = httpx.URL(server.url).port
    second = WireMockServer(port=port)
    with pytest.raises(WireMockServerError, match=f"Failed to bind to /127.0.0.1:{port}"):
        second.start()
    assert not second.is_alive
    assert server.is_alive
