"""Failpoints: `CLORAD_FAILPOINT=name[:n]` kills the process the n-th time it passes a named point.

They are for tests and the chaos demo. Each point is at a place where a crash could do the most damage.
"""

import os
import signal
import threading

import structlog

log = structlog.get_logger(__name__)

FAILPOINT_VARIABLE = "CLORAD_FAILPOINT"

POINTS = frozenset(
    {
        "intake-polled",
        "intake-in-transaction",
        "intake-before-commit",
        "outbox-before-mark",
        "learner-training",
        "learner-renamed",
        "learner-recorded",
        "fleet-swapping",
    }
)


class Failpoints:
    """Counts how often the process passes the armed point. Does nothing if no point is armed."""

    def __init__(self, spec: str | None) -> None:
        name, _, count = (spec or "").partition(":")
        if name and name not in POINTS:
            raise ValueError(f"failpoint {name}: no such point; known: {', '.join(sorted(POINTS))}")
        self._name = name
        self._left = int(count or 1)
        self._lock = threading.Lock()
        if name:
            log.warning("failpoint armed: this process will be killed", failpoint=name, passes=self._left)

    def __call__(self, name: str) -> None:
        """Note that the process passes the point `name`; kill it if this is the armed time."""
        assert name in POINTS, name
        if name != self._name:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
