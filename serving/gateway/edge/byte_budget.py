"""Bounds what the large bodies of one client cost the others: bytes a second, as a token bucket with debt.

Decoding a body holds Python's lock, so its cost falls on everybody; its bytes bound that cost.
"""

from collections import OrderedDict
from collections.abc import Callable

from serving.gateway.edge.errors import RequestRefused

BURST_S = 2.0
"""Seconds of its rate that a client may use at once."""

CLIENTS_MAX = 10_000
"""Clients remembered; the one that was seen longest ago is forgotten first."""


class ByteBudget:
    """Belongs to one event loop."""

    def __init__(self, bytes_per_s_max: int, clock_s: Callable[[], float]) -> None:
        self._rate = bytes_per_s_max
        self._clock_s = clock_s
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()  # by client: bytes, at a moment

    def take(self, client: str, size: int) -> None:
        """Count a body of `size` bytes. Raises `RequestRefused` (429) where the budget is used up.

        A body is taken whole once anything of the budget is left: what it exceeds is paid off by waiting.
        """
        now_s = self._clock_s()
        used, at_s = self._used.pop(client, (0.0, now_s))
        used = max(0.0, used - (now_s - at_s) * self._rate)
        excess = used - BURST_S * self._rate
        if excess >= 0:
            self._used[client] = (used, now_s)
            text = f"more than {self._rate // 2**20} MiB a second of large bodies from one client"
            headers = {"retry-after": str(1 + int(excess / self._rate))}
            raise RequestRefused(429, text, "body_rate", code="rate_limit_exceeded", headers=headers)
        self._used[client] = (used + size, now_s)
        if len(self._used) > CLIENTS_MAX:
            self._used.popitem(last=False)
