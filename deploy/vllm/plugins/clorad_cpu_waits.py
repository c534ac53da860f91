"""Lets vLLM's processes nap between messages (0.32), as a plugin of vLLM's own kind.

For a second after each message its engine and its worker look for the next one without pause: at a few
requests a second both are busy all the time, on a machine of few cores most of it. Here they nap between
looks. After that second they wait for a ring, which every message sends and which may be lost: then it took
up to 5 s until they looked again (seen), and here a twentieth of one.
"""

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

NAP_S = 0.0003
"""Between two looks: short beside a step of the smallest model, long beside a look."""

RING_MS_MAX = 50
"""Longest wait for a ring."""

_MODULE = "vllm.distributed.device_communicators.shm_broadcast"


def nap_between_looks() -> None:
    """Readers of shared memory leave the core to others. Safe to repeat."""
    condition = import_module(_MODULE).SpinCondition
    if not hasattr(condition.wait, "naps"):
        condition.wait = napping(condition.wait)


def napping(wait: Callable[..., None]) -> Callable[..., None]:
    """The same wait, with a nap where it would look again at once, and never long."""

    def nap(self: Any, timeout_ms: int | None = None) -> None:
        if time.monotonic() <= self.last_read + self.busy_loop_s:
            time.sleep(NAP_S)
        else:
            wait(self, timeout_ms=RING_MS_MAX if timeout_ms is None else min(timeout_ms, RING_MS_MAX))

    nap.naps = True  # type: ignore[attr-defined]
    return nap
