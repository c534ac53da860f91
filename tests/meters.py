"""Reads the metrics of this process. All tests share one provider: compare with the values before."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

Labels = tuple[tuple[str, Any], ...]


def metric_values(name: str) -> dict[Labels, float]:
    """The values of one instrument by its labels, in order; of a histogram the number of recorded values."""
    data = _reader().get_metrics_data()
    return {
        tuple(sorted((point.attributes or {}).items())): getattr(point, "value", None)
        if hasattr(point, "value")
        else point.count
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    }


def metric_increases(before: Mapping[Labels, float], name: str) -> dict[Labels, float]:
    """The increase of a counter or a histogram since `before`, without labels that did not change."""
    now = metric_values(name)
    return {
        labels: now[labels] - before.get(labels, 0) for labels in now if now[labels] != before.get(labels, 0)
    }


@cache
def _reader() -> InMemoryMetricReader:
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    return reader
