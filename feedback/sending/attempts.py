"""Decides whether a client tries again to send an event, and when: a bounded number of times and seconds."""

import time
from collections.abc import Callable

from feedback.backoff import Backoff

TRIES_MAX = 8
FIRST_WAIT_S = 0.2
WAIT_S_MAX = 10.0


class SendAgain(Exception):
    """The receiver may accept the same event later; perhaps it has it already. `retry_after_s`: it asked for
    so many seconds."""

    def __init__(self, reason: str, *, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.retry_after_s = reason, retry_after_s


class Attempts:
    """The tries of one event, from now on for `s_max` seconds."""

    def __init__(
        self, s_max: float, *, tries_max: int = TRIES_MAX, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock_s = clock_s
        self._ends_s = clock_s() + s_max
        self._tries_left = tries_max - 1
        self._backoff = Backoff(first_s=FIRST_WAIT_S, s_max=WAIT_S_MAX)

    @property
    def left_s(self) -> float:
        """Seconds that are left for the next try."""
        return max(0.0, self._ends_s - self._clock_s())

    def wait_s(self, fault: SendAgain) -> float | None:
        """Seconds to wait before the next try, as many as the receiver asked for at least. None: give up."""
        wait_s = fault.retry_after_s + self._backoff.next_s()
        if self._tries_left < 1 or wait_s >= self.left_s:
            return None
        self._tries_left -= 1
        return wait_s
