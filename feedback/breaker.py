"""A circuit breaker: if most records cannot be used, the cause is a bad deployment and not bad data.

Then intake rests between small polls, and Kafka keeps the events, until most records of a small poll can be
used again.
"""

from collections import deque

from ledger.events import Reason

NOT_DEPLOYED = (Reason.CONFLICT, Reason.POISON)
"""Reasons that say nothing about a deployment."""

SMALL_POLL_RECORDS = 10
"""Records that one poll returns at most while the breaker is open."""


class Breaker:
    """Counts the last `window` records. Open: more than `dead_share_max` of them became dead letters."""

    def __init__(self, *, dead_share_max: float, window: int = 500, records_min: int = 200) -> None:
        self.is_open = False
        self._dead_share_max = dead_share_max
        self._window = window
        self._records_min = records_min
        self._recent: deque[tuple[int, int]] = deque()
        self._records = self._dead = 0

    def add(self, records: int, dead: int) -> bool:
        """Count one poll's records and the dead letters among them. Returns whether it is open now."""
        if self.is_open:
            if records == 0 or dead > self._dead_share_max * records:
                return True
            self.is_open = False
            self._recent.clear()
            self._records = self._dead = 0
            return False
        if records == 0:  # a poll that only passed transaction markers
            return False
        self._recent.append((records, dead))
        self._records += records
        self._dead += dead
        while self._records - self._recent[0][0] >= self._window:
            old_records, old_dead = self._recent.popleft()
            self._records -= old_records
            self._dead -= old_dead
        enough = self._records >= self._records_min
        self.is_open = enough and self._dead > self._dead_share_max * self._records
        return self.is_open

    def records_max(self, while_closed: int) -> int:
        """How many records the next poll may return: `while_closed`, or fewer while the breaker is open."""
        return min(while_closed, SMALL_POLL_RECORDS) if self.is_open else while_closed
