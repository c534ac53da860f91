"""Ends the process when its loop has been silent for too long: a hang inside a library cannot be interrupted.

The supervisor starts it again, and the ledger says where to go on.
"""

import faulthandler
import os
import sys
import time
from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType

import structlog

log = structlog.get_logger(__name__)

EXIT_HUNG = 70


def end_process() -> None:
    """Show where every thread is, and end at once."""
    faulthandler.dump_traceback(file=sys.stderr)
    os._exit(EXIT_HUNG)


class Watchdog:
    """Watches while entered. `alive` must be called more often than every `silent_s_max` seconds."""

    def __init__(self, *, silent_s_max: float, bite: Callable[[], None] = end_process) -> None:
        self._silent_s_max = silent_s_max
        self._bite = bite
        self._seen_s = time.monotonic()
        self._over = Event()
        self._thread = Thread(target=self._watch, name="watchdog", daemon=True)

    def alive(self) -> None:
        """The loop came round."""
        self._seen_s = time.monotonic()

    def __enter__(self) -> "Watchdog":
        self.alive()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, where: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=5.0)

    def _watch(self) -> None:
        late_since_s = -1.0
        while not self._over.wait(min(1.0, self._silent_s_max / 4)):
            silent_s = time.monotonic() - self._seen_s
            if silent_s <= self._silent_s_max:
                continue
            if late_since_s == self._seen_s:
                log.critical("loop hangs", silent_s=round(silent_s, 1))
                self._bite()
                return
            late_since_s = self._seen_s  # a process that was frozen gets one look's time to come round
