"""Reads the annotations of a tool again and again, and sends those that are new or were changed.

Each poll reads everything of the last days: annotations come days after the answers. The journal says what
was read before, so what did not change is neither read whole nor sent again.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog
from opentelemetry import metrics

from feedback.backoff import Backoff
from feedback.bridges.annotation import Annotation, AnnotationRefused
from feedback.bridges.delivery import Delivery
from feedback.bridges.tool_client import ToolAway
from feedback.client import FeedbackUnconfirmed
from feedback.counters import start_at_zero
from feedback.intake import LoopHealth

log = structlog.get_logger(__name__)
_polls = metrics.get_meter("feedback").create_counter(
    "clorad.bridge.polls",
    unit="{poll}",
    description="how often bridges read a tool's annotations, by whether they could read and send them all",
)

PAGES_MAX = 1000
"""Pages of one poll: a bound for tools that never say which one is the last."""

_TICK_S = 5.0
_FIRST_WAIT_S = 1.0


class PolledTool(Protocol):
    """What a tool's module knows of its API."""

    def items(self, since: datetime) -> Iterator[Mapping[str, Any]]:
        """The annotations of answers since then, as the tool has them. Raises `ToolAway`."""

    def identity(self, item: Mapping[str, Any]) -> tuple[str, datetime]:
        """The annotation's name, and when it was changed. Raises `AnnotationRefused`."""

    def annotation(self, item: Mapping[str, Any]) -> Annotation:
        """What it says; perhaps the tool is asked for its trace. Raises `AnnotationRefused`, `ToolAway`."""


def poll_once(tool: PolledTool, delivery: Delivery, *, since: datetime, alive: Callable[[], None]) -> None:
    """Kafka has what the annotations since then say. Raises `ToolAway`, `FeedbackUnconfirmed`."""
    for item in tool.items(since):
        alive()
        try:
            name, revised_at = tool.identity(item)
        except AnnotationRefused as refusal:
            delivery.refuse(refusal)
            continue
        if delivery.is_known(name, revised_at):
            continue
        try:
            annotation = tool.annotation(item)
        except AnnotationRefused as refusal:
            delivery.refuse(refusal, name=name, revised=revised_at.isoformat())
            continue
        try:
            delivery.deliver(annotation)
        except AnnotationRefused:
            continue  # it is counted and noted


def poll_until(
    tool: PolledTool,
    delivery: Delivery,
    stopping: threading.Event,
    health: LoopHealth,
    *,
    kind: str,
    name: str,
    poll_s: float,
    days: float,
) -> None:
    """Poll every `poll_s` seconds, later while the tool or Kafka is away, until `stopping` is set."""
    start_at_zero(_polls, *({"tool": kind, "fate": fate} for fate in ("done", "failed")))
    backoff = Backoff(first_s=_FIRST_WAIT_S, s_max=max(poll_s, _FIRST_WAIT_S))

    def alive() -> None:
        health.alive("poller")

    while not stopping.is_set():
        since = datetime.now(UTC) - timedelta(days=days)
        try:
            poll_once(tool, delivery, since=since, alive=alive)
        except (ToolAway, FeedbackUnconfirmed) as fault:
            why = str(fault) if isinstance(fault, ToolAway) else fault.reason
            log.warning("tool not read", bridge=name, why=why)
            _polls.add(1, {"tool": kind, "fate": "failed"})
            health.ready(f"tool {name}", False, why)
            wait_s = backoff.next_s()
        else:
            _polls.add(1, {"tool": kind, "fate": "done"})
            health.ready(f"tool {name}", True)
            backoff.reset()
            wait_s = poll_s
        _wait(wait_s, stopping, alive)


def _wait(wait_s: float, stopping: threading.Event, alive: Callable[[], None]) -> None:
    """Wait that long or until told to stop, and report every few seconds that the loop goes on."""
    while wait_s > 0.0 and not stopping.wait(min(wait_s, _TICK_S)):
        alive()
        wait_s -= _TICK_S
