"""A version's trace: every process finds its root without asking; the root links to the events' traces."""

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from daemon.process.telemetry import ChosenIds
from feedback import tracing
from feedback.tracing import FirstAnswers, event_span, traceparent_of, version_root, version_span

SENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Spans are recorded. The API takes one provider a process, so the module gets its tracer."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(id_generator=ChosenIds())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("test"))
    monkeypatch.setattr(tracing, "is_on", lambda: True)
    tracing.name_ledger("ledger-1")
    yield exporter
    tracing.name_ledger("")


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def test_an_event_carries_the_trace_of_its_sender_to_intake(spans: InMemorySpanExporter) -> None:
    with event_span("send", None, kind=SpanKind.PRODUCER) as sending:
        carried = traceparent_of(sending)
    with event_span("intake", carried, kind=SpanKind.CONSUMER, began_s=10.0):
        pass
    found = by_name(spans)
    assert found["intake"].context.trace_id == found["send"].context.trace_id
    assert found["intake"].parent is not None
    assert found["intake"].parent.span_id == found["send"].context.span_id
    assert found["intake"].start_time == 10 * 10**9


def test_a_version_has_one_trace_in_all_processes_and_links_to_what_it_was_taught(
    spans: InMemorySpanExporter,
) -> None:
    with version_span("gate", "billing", 7):  # in another process, perhaps before the root was exported
        pass
    with version_root("billing", 7, traces=[SENT, None, SENT], began_s=5.0) as root:
        with version_span("inner", "billing", 7):
            pass
        assert trace.get_current_span() is root
    with version_root("billing", 8, traces=[], began_s=5.0):
        pass
    gate, turn, other = spans.get_finished_spans()[0], *spans.get_finished_spans()[2:]
    assert gate.parent is not None
    assert (gate.context.trace_id, gate.parent.span_id) == (turn.context.trace_id, turn.context.span_id)
    assert [trace.format_trace_id(link.context.trace_id) for link in turn.links] == [SENT.split("-")[1]]
    assert turn.parent is None
    assert other.context.trace_id != turn.context.trace_id
    tracing.name_ledger("ledger-2")
    with version_span("elsewhere", "billing", 7):
        pass
    assert by_name(spans)["elsewhere"].context.trace_id != turn.context.trace_id


def test_a_version_links_to_a_bounded_number_of_events(spans: InMemorySpanExporter) -> None:
    traces = [f"00-{number:032x}-b7ad6b7169203331-01" for number in range(1, 400)]
    with version_root("billing", 1, traces=traces, began_s=0.0):
        pass
    assert len(by_name(spans)["clorad.turn"].links) == tracing.LINKS_MAX


def test_the_first_answer_of_a_version_is_noted_once(spans: InMemorySpanExporter) -> None:
    first = FirstAnswers()
    for version in ("v0", "v7-3fa2c1", "v7-3fa2c1", "v8-aaaaaa"):
        first.note("billing", version)
    assert [span.name for span in spans.get_finished_spans()] == ["clorad.first_answer"] * 2


def test_without_a_collector_nothing_is_carried() -> None:
    with event_span("send", None, kind=SpanKind.PRODUCER) as span:
        assert traceparent_of(span) is None
    with event_span("intake", SENT, kind=SpanKind.CONSUMER) as span:
        assert traceparent_of(span) == SENT, "what a sender began goes on"
