"""Counts the requests of each key: how many at once, and how many within a minute, at this gateway."""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from ledger.access.rights import Grant
from serving.gateway.edge.errors import RequestRefused

MINUTE_S = 60.0


@dataclass(slots=True)
class _Use:
    """What one key did lately."""

    in_flight: int = 0
    begun_s: deque[float] = field(default_factory=deque)  # of requests within the last minute, oldest first


class KeyLimits:
    """Belongs to one event loop. Keys without limits are not counted."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._uses: dict[str, _Use] = {}

    def enter(self, key_id: str, grant: Grant) -> None:
        """Count a request that begins. Raises `RequestRefused` (429) where it is one too many.

        What is refused does not count: a client that asks too often is served at its rate.
        """
        per_minute, at_once = grant.requests_per_minute_max, grant.concurrency_max
        if per_minute is None and at_once is None:
            return
        use = self._uses.setdefault(key_id, _Use())
        now = self._clock()
        while use.begun_s and use.begun_s[0] <= now - MINUTE_S:
            use.begun_s.popleft()
        if at_once is not None and use.in_flight >= at_once:
            raise _too_many(f"this key may have {at_once} requests at once", "key_concurrency", 1.0)
        if per_minute is not None:
            if len(use.begun_s) >= per_minute:
                wait_s = use.begun_s[len(use.begun_s) - per_minute] + MINUTE_S - now
                raise _too_many(f"this key may send {per_minute} requests a minute", "key_rate", wait_s)
            use.begun_s.append(now)
        use.in_flight += 1

    def leave(self, key_id: str) -> None:
        """Count a request that ended, after `enter` let it in."""
        use = self._uses.get(key_id)
        if use is None:
            return
        use.in_flight -= 1
        if use.in_flight <= 0 and not use.begun_s:
            del self._uses[key_id]


def _too_many(text: str, reason: str, wait_s: float) -> RequestRefused:
    headers = {"retry-after": str(max(1, math.ceil(wait_s)))}
    return RequestRefused(429, text, reason, code="rate_limit_exceeded", headers=headers)
