"""Gauges that can be taken back: what only its owner knows must not be told by who owned it once.

OpenTelemetry's own synchronous gauge repeats its last value for as long as the process lives: after a lease
or a partition went elsewhere, two processes would tell two numbers.
"""

from collections.abc import Iterable, Mapping, Sequence
from threading import Lock

from opentelemetry.metrics import CallbackOptions, Meter, Observation

Labels = Mapping[str, str | int]


class Gauge:
    """What was set is told at every scrape, until replaced or withdrawn. Safe to use from any thread."""

    def __init__(self, meter: Meter, name: str, *, unit: str) -> None:
        self._lock = Lock()
        self._told: dict[frozenset[tuple[str, str | int]], Observation] = {}
        meter.create_observable_gauge(name, callbacks=[self._observe], unit=unit)

    def set(self, value: float, labels: Labels | None = None) -> None:
        """Tell this value from now on; those with other labels stay."""
        with self._lock:
            self._told[frozenset((labels or {}).items())] = Observation(value, labels)

    def replace(self, values: Iterable[tuple[float, Labels]]) -> None:
        """Tell these from now on, and nothing else."""
        told = {frozenset(labels.items()): Observation(value, labels) for value, labels in values}
        with self._lock:
            self._told = told

    def withdraw(self) -> None:
        """Tell nothing until something is set again: somebody else knows now."""
        self.replace(())

    def _observe(self, _options: CallbackOptions) -> Sequence[Observation]:
        with self._lock:
            return list(self._told.values())
