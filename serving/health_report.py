"""The interface by which loops of the gateway and the fleet role report that they run and what they lack."""

from typing import Protocol


class HealthReport(Protocol):
    """The part of `daemon.process.health.Health` that this stage calls."""

    def alive(self, name: str) -> None:
        """The loop of this name has just completed a round."""

    def ready(self, name: str, ok: bool, why: str = "") -> None:
        """Whether the loop of this name has what it needs; `why` says what it lacks."""
