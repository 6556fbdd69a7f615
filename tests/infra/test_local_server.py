"""Ports for servers that tests and the launcher start."""

import pytest

from infra import local_server
from infra.local_server import free_port, give, share_ports


def test_processes_beside_one_another_never_choose_the_same_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen: list[set[int]] = []
    for share in range(3):
        monkeypatch.setattr(local_server, "_ports", range(20_000, 20_300))
        monkeypatch.setattr(local_server, "_given", set())
        share_ports(share, 3)
        chosen.append({free_port() for _ in range(50)})
    assert [len(ports) for ports in chosen] == [50, 50, 50], "and each no port twice"
    assert len(set.union(*chosen)) == 150


def test_a_port_with_an_owner_is_passed_over_though_nobody_listens_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local_server, "_ports", range(20_000, 20_020))
    monkeypatch.setattr(local_server, "_given", set())
    give(*range(20_000, 20_010))
    assert all(free_port() >= 20_010 for _ in range(3))
