"""Says how long to wait before the next try: twice as long each time, at random, up to a bound."""

import random
from threading import Event


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
