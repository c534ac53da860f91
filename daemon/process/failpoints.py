"""Dying on purpose: `CLORAD_FAILPOINT=name[:n]` kills the process the n-th time it passes a named point.

For tests and the chaos demo. The points are where a crash is hardest to get right.
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
    """Counts the passes of one armed point; does nothing when none is armed."""

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
        """Pass the point `name`."""
        assert name in POINTS, name
        if name != self._name:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
