"""Traces of corrections (OpenTelemetry): what became of one, from its sender to the first answer.

An event's trace begins where it is sent: its `traceparent` (CloudEvents' distributed tracing extension, W3C
Trace Context) is stored with it. A version has a trace of its own, whose root links to the traces of the
events that it was taught. Its ids follow from the ledger, the agent and the version's number: learner, fleet
role and gateways add spans to it without asking each other.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

LINKS_MAX = 128
"""Events that a version links to: OpenTelemetry's SDK keeps no more by default."""

log = structlog.get_logger(__name__)

CHOSEN_ROOT: ContextVar[SpanContext | None] = ContextVar("chosen root", default=None)
"""The ids of the root that is about to begin; None: the provider chooses them."""

_HEADER = "traceparent"
_propagator = TraceContextTextMapPropagator()
_ledgers: list[str] = [""]
_tracer = trace.get_tracer("clorad")


def name_ledger(ledger_id: str) -> None:
    """Versions are those of this ledger: two installations may have agents of one name."""
    _ledgers[0] = ledger_id


def is_on() -> bool:
    """Whether spans are recorded in this process."""
    return hasattr(trace.get_tracer_provider(), "id_generator")


@contextmanager
def event_span(
    name: str,
    traceparent: str | None,
    *,
    kind: SpanKind,
    began_s: float | None = None,
    **attributes: Any,
) -> Iterator[Span]:
    """A span in the trace of an event; it begins a trace where there is none. `began_s`: Unix time."""
    carrier = {} if traceparent is None else {_HEADER: traceparent}
    with _tracer.start_as_current_span(
        name,
        context=_propagator.extract(carrier, context=Context()),
        kind=kind,
        attributes=_named(attributes),
        start_time=_ns(began_s),
    ) as span:
        yield span


def traceparent_of(span: Span | None = None) -> str | None:
    """What an event is to carry: the context of the span, or of the current one; None where there is none."""
    span = trace.get_current_span() if span is None else span
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context=trace.set_span_in_context(span, Context()))
    return carrier.get(_HEADER)


@contextmanager
def version_root(
    agent: str, number: int, *, traces: Iterable[str | None], began_s: float, **attributes: Any
) -> Iterator[Span]:
    """The root of a version's trace: its turn, linked to the traces of the events that it is taught."""
    token = CHOSEN_ROOT.set(_root_of(agent, number))
    try:
        span = _tracer.start_span(
            "clorad.turn",
            context=Context(),
            links=_links(traces),
            attributes=_named({"agent": agent, "version": number, **attributes}),
            start_time=_ns(began_s),
        )
    finally:
        CHOSEN_ROOT.reset(token)
    with trace.use_span(span, end_on_exit=True):
        yield span


@contextmanager
def version_span(
    name: str, agent: str, number: int, *, began_s: float | None = None, **attributes: Any
) -> Iterator[Span]:
    """A span in the trace of a version."""
    parent = NonRecordingSpan(_root_of(agent, number))
    with _tracer.start_as_current_span(
        name,
        context=trace.set_span_in_context(parent, Context()),
        attributes=_named({"agent": agent, "version": number, **attributes}),
        start_time=_ns(began_s),
    ) as span:
        yield span


class FirstAnswers:
    """Adds a span to a version's trace when this process first answers with the version."""

    def __init__(self) -> None:
        self._answered: set[tuple[str, str]] = set()

    def note(self, agent: str, version: str) -> None:
        """An answer was given by this version (`v7-3fa2c1`); the base has no trace."""
        number = version.partition("-")[0].removeprefix("v")
        if (agent, version) in self._answered or not is_on() or not number.isdecimal() or number == "0":
            return
        self._answered.add((agent, version))
        with version_span("clorad.first_answer", agent, int(number)):
            log.info("first answer", agent=agent, version=version)


def _root_of(agent: str, number: int) -> SpanContext:
    digest = hashlib.sha256(f"{_ledgers[0]}\0{agent}\0{number}".encode()).digest()
    return SpanContext(
        trace_id=int.from_bytes(digest[:16], "big") or 1,
        span_id=int.from_bytes(digest[16:24], "big") or 1,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def _links(traces: Iterable[str | None]) -> list[Link]:
    contexts = [
        trace.get_current_span(_propagator.extract({_HEADER: parent}, Context()))
        for parent in dict.fromkeys(traces)
        if parent is not None
    ]
    return [Link(span.get_span_context()) for span in contexts[:LINKS_MAX]]


def _named(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {f"clorad.{name}": value for name, value in attributes.items()}


def _ns(at_s: float | None) -> int | None:
    return None if at_s is None else round(at_s * 1e9)
