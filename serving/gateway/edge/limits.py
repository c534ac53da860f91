"""The bounds that the gateway puts on what one client, and all of them together, may make it do."""

from dataclasses import dataclass

KIB, MIB = 1024, 1024 * 1024

SMALL_BODY_BYTES = 16 * KIB
"""Smaller bodies are free; larger ones share `bodies_bytes_max`, so that they crowd out only each other."""

SMALL_ANSWER_BYTES = 64 * KIB
"""Smaller answers are free; larger ones share `answers_bytes_max`, and crowd out only each other."""

LARGE_BODY_BYTES = 64 * KIB
"""Larger bodies are decoded beside the event loop, and each client has a budget of them."""

VALUE_BYTES = 64
"""What one decoded JSON value costs in memory, about: a list or a number with its place in the parent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLimits:
    """One value of each bound. `daemon.settings` holds the defaults and the reasons."""

    body_bytes_max: int
    bodies_bytes_max: int  # of all bodies above `SMALL_BODY_BYTES` that are being read or answered
    large_bytes_per_s_max: int  # of bodies above `LARGE_BODY_BYTES`, from one client
    depth_max: int  # levels of lists and objects in a body
    values_max: int  # JSON values in a body
    requests_max: int  # being answered at once
    answer_bytes_max: int  # of one answer of a replica
    answers_bytes_max: int  # of all answers above `SMALL_ANSWER_BYTES` that are held at once
    header_bytes_max: int  # of all headers of one request, its path included
    headers_max: int
    header_s_max: float  # from a request's first byte to the end of its headers
    body_s_max: float  # from there to the end of its body
    idle_s_max: float  # for the next request on a connection
    connections_max: int  # of clients
    requests_per_s_max: int  # from one address
