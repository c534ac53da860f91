"""Says how long to wait before the next try: twice as long each time, at random, up to a bound."""

import random
import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from kafka import errors

Answer = TypeVar("Answer")

PASSING_S_MAX = 15.0
"""Seconds in which a cluster that elects a leader is asked again."""


class Backoff:
    """The waits of one client. Call `reset` after a success."""

    def __init__(self, *, first_s: float = 0.2, s_max: float = 30.0) -> None:
        self._first_s = first_s
        self._s_max = s_max
        self._next_s = first_s

    def next_s(self) -> float:
        """Seconds to wait now; the next answer is twice as long."""
        wait_s = self._next_s * random.uniform(0.5, 1.0)  # many clients must not try again at one moment
        self._next_s = min(self._next_s * 2, self._s_max)
        return wait_s

    def wait(self, stopping: Event) -> None:
        """Wait that long, or until told to stop."""
        stopping.wait(self.next_s())

    def reset(self) -> None:
        """Make the next wait the shortest again."""
        self._next_s = self._first_s


def ask_again(ask: Callable[[], Answer], *, wait_s_max: float = PASSING_S_MAX) -> Answer:
    """What `ask` answers, asked again while a broker answers that it cannot say so yet.

    Such are leaders that move and controllers that change. A broker that does not answer is not asked again:
    the client waited for it already. Raises the last fault, and any other.
    """
    until_s, backoff = time.monotonic() + wait_s_max, Backoff(s_max=2.0)
    while True:
        try:
            return ask()
        except errors.RetriableError as fault:
            if not isinstance(fault, errors.BrokerResponseError) or time.monotonic() > until_s:
                raise
        time.sleep(backoff.next_s())
