"""A counter is exported before it counts."""

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from feedback.counters import start_at_zero


def test_every_series_is_exported_as_zero() -> None:
    reader = InMemoryMetricReader()
    meter = MeterProvider([reader]).get_meter("test")
    start_at_zero(meter.create_counter("labelled"), {"fate": "kept"}, {"fate": "dead"})
    start_at_zero(meter.create_counter("plain"))
    exported = reader.get_metrics_data()
    assert exported is not None
    points = {
        (metric.name, *point.attributes.values()): point.value
        for metric in exported.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }
    assert points == {("labelled", "kept"): 0, ("labelled", "dead"): 0, ("plain",): 0}
