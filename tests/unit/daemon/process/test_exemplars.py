"""A histogram that is recorded within a sampled span names that span: the exemplar that OTLP carries."""

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider


def test_a_value_within_a_span_has_an_exemplar_and_one_outside_has_none() -> None:
    reader = InMemoryMetricReader()
    meters, tracer = MeterProvider(metric_readers=[reader]), TracerProvider().get_tracer("test")
    histogram = meters.get_meter("test").create_histogram("clorad.test.duration", unit="s")
    histogram.record(100.0)
    with tracer.start_as_current_span("clorad.gate") as span:
        histogram.record(0.3)
    data = reader.get_metrics_data()
    assert data is not None
    [point] = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert isinstance(point, HistogramDataPoint)
    [exemplar] = point.exemplars
    assert (exemplar.value, exemplar.span_id) == (0.3, span.get_span_context().span_id)
    assert exemplar.trace_id == span.get_span_context().trace_id
    [sent] = encode_metrics(data).resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points
    assert [one.trace_id.hex() for one in sent.exemplars] == [f"{exemplar.trace_id:032x}"]
