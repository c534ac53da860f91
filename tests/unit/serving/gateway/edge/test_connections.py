"""Who makes room for whom, and how often one address may ask."""

import pytest

from serving.gateway.edge.connections import RESERVED, Connections, network_of
from serving.gateway.edge.errors import RequestRefused
from tests.unit.serving.gateway.gateway_builder import build_limits

PATH = "/v1/chat/completions"


class FakeConnection:
    def __init__(self) -> None:
        self.ends: list[str] = []

    def refuse(self, refusal: RequestRefused) -> None:
        self.ends.append(f"refused {refusal.status}")

    def drop(self, reason: str) -> None:
        self.ends.append(f"dropped {reason}")


def build_connections(now_s: list[float] | None = None, **limits: int) -> Connections:
    clock = now_s or [0.0]
    return Connections(build_limits(**limits), clock_s=lambda: clock[0])


def open_connections(connections: Connections, count: int) -> list[FakeConnection]:
    opened = [FakeConnection() for _ in range(count)]
    for connection in opened:
        connections.opened(connection)
    return opened


def dropped(connections: list[FakeConnection]) -> list[int]:
    return [place for place, connection in enumerate(connections) if connection.ends]


def test_the_oldest_connection_without_a_request_makes_room_first() -> None:
    connections = build_connections(connections_max=3)
    first = open_connections(connections, 3)
    connections.busy(first[0])
    connections.idle(first[0])
    open_connections(connections, 1)
    assert dropped(first) == [1]
    connections.busy(first[2])
    more = open_connections(connections, 1)
    assert dropped(first) == [1], "the connection without any request goes before an idle one"
    assert dropped(more) == []


def test_of_idle_connections_the_one_that_waits_longest_makes_room() -> None:
    connections = build_connections(connections_max=2)
    first = open_connections(connections, 2)
    for connection in first:
        connections.busy(connection)
    connections.idle(first[1])
    connections.idle(first[0])
    open_connections(connections, 1)
    assert dropped(first) == [1]


def test_a_connection_whose_request_is_answered_never_makes_room() -> None:
    connections = build_connections(connections_max=2)
    first = open_connections(connections, 2)
    for connection in first:
        connections.busy(connection)
    late = open_connections(connections, RESERVED + 1)
    assert dropped(first) == []
    assert dropped(late) == [0], "and the reserve is bounded too"


def test_a_reserved_connection_is_told_of_health_only() -> None:
    connections = build_connections(connections_max=1)
    [first] = open_connections(connections, 1)
    connections.busy(first)
    [late] = open_connections(connections, 1)
    connections.admit(late, "a", "/healthz")
    connections.admit(late, "a", "/readyz")
    with pytest.raises(RequestRefused) as refusal:
        connections.admit(late, "a", PATH)
    assert refusal.value.status == 503
    connections.closed(first)
    [later] = open_connections(connections, 1)
    connections.admit(later, "a", PATH)


def test_an_address_that_asks_too_often_is_refused_until_the_next_second() -> None:
    now_s = [7.9]
    connections = build_connections(now_s, requests_per_s_max=2)
    [connection] = open_connections(connections, 1)
    for address in ("a", "a", "b"):
        connections.admit(connection, address, PATH)
    connections.admit(connection, "a", "/healthz")
    with pytest.raises(RequestRefused) as refusal:
        connections.admit(connection, "a", PATH)
    assert (refusal.value.status, refusal.value.headers["retry-after"]) == (429, "1")
    assert refusal.value.body["error"]["type"] == "rate_limit_error"
    now_s[0] = 8.0
    connections.admit(connection, "a", PATH)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_addresses_that_one_client_can_choose_from_count_as_one(address: str, network: str) -> None:
    assert network_of(address) == network
