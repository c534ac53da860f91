"""Percentiles of measured values."""

from collections.abc import Iterable


def percentile(values: Iterable[float], percent: int) -> float:
    """The smallest value that more than `percent` % of the values do not exceed. There must be a value."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
