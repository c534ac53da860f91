"""A gauge that can be withdrawn: a process that lost a lease or a partition must not export its numbers.

OpenTelemetry's synchronous gauge repeats its last value for as long as the process lives. After a lease has
moved, two processes would export two values of one thing.
"""

from collections.abc import Iterable, Mapping, Sequence
from threading import Lock

from opentelemetry.metrics import CallbackOptions, Meter, Observation

Labels = Mapping[str, str | int]


class Gauge:
    """Exports what was set at every scrape, until it is replaced or withdrawn. Safe in any thread."""

    def __init__(self, meter: Meter, name: str, *, unit: str, description: str) -> None:
        self._lock = Lock()
        self._observations: dict[frozenset[tuple[str, str | int]], Observation] = {}
        meter.create_observable_gauge(name, callbacks=[self._observe], unit=unit, description=description)

    def set(self, value: float, labels: Labels | None = None) -> None:
        """Export this value from now on; those with other labels stay."""
        with self._lock:
            self._observations[frozenset((labels or {}).items())] = Observation(value, labels)

    def replace(self, values: Iterable[tuple[float, Labels]]) -> None:
        """Export these values from now on, and no others."""
        observations = {frozenset(labels.items()): Observation(value, labels) for value, labels in values}
        with self._lock:
            self._observations = observations

    def withdraw(self) -> None:
        """Export nothing until a value is set again: another process exports it now."""
        self.replace(())

    def _observe(self, _options: CallbackOptions) -> Sequence[Observation]:
        with self._lock:
            return list(self._observations.values())
