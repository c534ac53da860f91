"""Exports every series of a counter as 0 from the start.

Prometheus computes no increase for a series whose first sample is 1, so an alert would miss the first event.
"""

from collections.abc import Mapping

from opentelemetry.metrics import Counter


def start_at_zero(counter: Counter, *series: Mapping[str, str]) -> None:
    """Export 0 for each series, given by its labels; for the one without labels if none is given."""
    for labels in series or ({},):
        counter.add(0, labels)
