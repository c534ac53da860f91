"""Lets vLLM's processes sleep between messages on a CPU (0.32). A plugin that vLLM loads.

For a second after each message, vLLM's engine and worker poll for the next one without pause: at a few
requests a second both use a core all the time. With this plugin they sleep between two polls. After that
second they wait for a notification, which may be lost: they then polled again only after up to 5 s, with this
plugin after a twentieth of a second.
"""

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

NAP_S = 0.0003
"""Sleep between two polls: short beside a step of the smallest model, long beside a poll."""

RING_MS_MAX = 50
"""Longest wait for a notification."""

_MODULE = "vllm.distributed.device_communicators.shm_broadcast"


def nap_between_looks() -> None:
    """Make readers of shared memory sleep between polls. Repeating it changes nothing."""
    condition = import_module(_MODULE).SpinCondition
    if not hasattr(condition.wait, "naps"):
        condition.wait = napping(condition.wait)


def napping(wait: Callable[..., None]) -> Callable[..., None]:
    """The same wait, but it sleeps before it polls again, and waits for a notification only shortly."""

    def nap(self: Any, timeout_ms: int | None = None) -> None:
        if time.monotonic() <= self.last_read + self.busy_loop_s:
            time.sleep(NAP_S)
        else:
            wait(self, timeout_ms=RING_MS_MAX if timeout_ms is None else min(timeout_ms, RING_MS_MAX))

    nap.naps = True  # type: ignore[attr-defined]
    return nap
