"""Chooses which client connections stay open: how many there may be, and which make room for new ones.

A connection on which a request is being answered is never closed to make room. One that has not sent a whole
request is the first to go, then one that waits for its client's next request; the oldest of each kind first.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from serving.gateway.edge.errors import RequestRefused
from serving.gateway.edge.limits import GatewayLimits

RESERVED = 16
"""Connections beyond `connections_max` that may only ask whether the gateway is alive and ready."""

HEALTH_PATHS = frozenset({"/healthz", "/readyz"})


class ClientConnection(Protocol):
    """What `Connections` does with a connection."""

    def refuse(self, refusal: RequestRefused) -> None:
        """Send the refusal and close."""

    def drop(self, reason: str) -> None:
        """Close at once and without an answer."""


class Connections:
    """All client connections of one server. Belongs to one event loop."""

    def __init__(self, limits: GatewayLimits, *, clock_s: Callable[[], float]) -> None:
        self.limits = limits
        self._clock_s = clock_s
        self._open: dict[ClientConnection, None] = {}
        self._unused: dict[ClientConnection, None] = {}  # sent no whole request yet, oldest first
        self._idle: dict[ClientConnection, None] = {}  # between two requests, longest idle first
        self._reserved: dict[ClientConnection, None] = {}
        self._second = 0
        self._requests: Counter[str] = Counter()  # of this second, by the client's address

    def opened(self, connection: ClientConnection) -> None:
        """Make room for a new connection, reserve it for questions about health, or refuse it."""
        self._open[connection] = None
        if self._ordinary > self.limits.connections_max:
            idler = next(iter(self._unused), None) or next(iter(self._idle), None)
            if idler is not None:
                self._drop(idler)
            else:
                self._reserve(connection)
                return
        self._unused[connection] = None

    def admit(self, connection: ClientConnection, address: str, path: str) -> None:
        """Count a request of the client at `address` (of `network_of`).

        Raises `RequestRefused`: 429 where it asks too often, 503 where only health is answered.
        """
        if path in HEALTH_PATHS:
            return
        if connection in self._reserved:
            raise RequestRefused(503, "too many connections; try again", "connections")
        second = int(self._clock_s())
        if second != self._second:
            self._second = second
            self._requests.clear()
        self._requests[address] += 1
        if self._requests[address] > self.limits.requests_per_s_max:
            text = f"more than {self.limits.requests_per_s_max} requests a second from one address"
            raise RequestRefused(429, text, "request_rate", code="rate_limit_exceeded")

    def busy(self, connection: ClientConnection) -> None:
        """A whole request has arrived on it."""
        self._unused.pop(connection, None)
        self._idle.pop(connection, None)

    def idle(self, connection: ClientConnection) -> None:
        """Its request is answered, and it may send another."""
        if connection in self._open and connection not in self._reserved:
            self._idle[connection] = None

    def closed(self, connection: ClientConnection) -> None:
        """It is gone."""
        self.busy(connection)
        self._reserved.pop(connection, None)
        self._open.pop(connection, None)

    @property
    def _ordinary(self) -> int:
        return len(self._open) - len(self._reserved)

    def _reserve(self, connection: ClientConnection) -> None:
        if len(self._reserved) >= RESERVED:
            self._drop(next(iter(self._reserved)))
        self._reserved[connection] = None

    def _drop(self, connection: ClientConnection) -> None:
        self.closed(connection)
        connection.drop("connections")


def network_of(address: str) -> str:
    """What one client can choose its address from: the address itself, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address  # a Unix socket has none
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
