"""Lets vLLM's processes sleep between messages on a CPU (0.32). A plugin that vLLM loads.

For a second after each message, vLLM's engine and worker poll for the next one without a pause: at a few
requests per second each of them uses a whole core. With this plugin they sleep between two polls. After that
second they wait for a notification, which may be lost: vLLM polls again after up to 5 s, with this plugin
after a twentieth of a second.
"""

import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

SLEEP_S = 0.0003
"""Sleep between two polls: shorter than a step of the smallest model, longer than a poll."""

NOTIFICATION_MS_MAX = 50
"""Longest wait for a notification, in milliseconds."""

_MODULE = "vllm.distributed.device_communicators.shm_broadcast"


def sleep_between_polls() -> None:
    """Make readers of shared memory sleep between polls. Repeating it changes nothing."""
    condition = import_module(_MODULE).SpinCondition
    if not hasattr(condition.wait, "sleeps"):
        condition.wait = sleeping_wait(condition.wait)


def sleeping_wait(wait: Callable[..., None]) -> Callable[..., None]:
    """The same wait, but it sleeps before it polls again, and waits for a notification only shortly."""

    def wait_or_sleep(self: Any, timeout_ms: int | None = None) -> None:
        if time.monotonic() <= self.last_read + self.busy_loop_s:
            time.sleep(SLEEP_S)
        else:
            wait(
                self,
                timeout_ms=NOTIFICATION_MS_MAX
                if timeout_ms is None
                else min(timeout_ms, NOTIFICATION_MS_MAX),
            )

    wait_or_sleep.sleeps = True  # type: ignore[attr-defined]
    return wait_or_sleep
