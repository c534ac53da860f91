"""Logs and metrics of a role: structlog lines on stderr, OpenTelemetry meters that are scraped or pushed.

Libraries log in the same lines. A fault that ends the process is logged without the message of a library's
exception: a database driver quotes the row that it refused, and people wrote that row.
"""

import logging
import os
import re
import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import structlog
from opentelemetry import metrics, trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from structlog.typing import Processor

from daemon import __version__
from daemon.masking import MASK, is_secret_name, mask, mask_values
from daemon.settings import TelemetrySettings
from feedback.tracing import CHOSEN_ROOT

_NOISY = ("kafka", "httpx", "httpcore", "uvicorn", "asyncio", "aiohttp", "alembic", "urllib3", "filelock")
_OURS = ("daemon", "engine", "feedback", "ledger", "rewards", "serving")
_FRAMES_MAX = 12
_PUSH_MS = 10_000
PUSH_S_MAX = 10.0

log = structlog.get_logger(__name__)


def start_logging(settings: TelemetrySettings, *, role: str) -> None:
    """Make every log line of clorad and of libraries one structlog event on stderr."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _AddFields({"role": role, "pid": os.getpid()}),
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_trace,
        _FaultWithoutTexts(),
        _without_secrets,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [lines]
    root.setLevel(settings.log_level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    sys.excepthook = _log_fault
    threading.excepthook = lambda fault: _log_fault(fault.exc_type, fault.exc_value, fault.exc_traceback)


def start_meters(settings: TelemetrySettings, *, role: str) -> MeterProvider:
    """Start the process's metrics: scraped at /metrics, and pushed if the settings name a collector."""
    readers: list[MetricReader] = [PrometheusMetricReader()]
    if settings.otlp_endpoint is not None:
        # This import takes half a second, and most processes do not need it.
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        exporter = OTLPMetricExporter(endpoint=_signal_url(settings.otlp_endpoint, "metrics"))
        readers.append(PeriodicExportingMetricReader(exporter, export_interval_millis=_PUSH_MS))
    provider = MeterProvider(resource=_resource(role), metric_readers=readers)
    metrics.set_meter_provider(provider)
    return provider


def start_traces(
    settings: TelemetrySettings, *, role: str, push_s_max: float = PUSH_S_MAX
) -> TracerProvider | None:
    """Record spans and push them, if the settings name a collector; None: no span is recorded.

    A push, also the last one, takes `push_s_max` seconds at most; its spans are dropped then.
    """
    if settings.otlp_endpoint is None:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    provider = TracerProvider(resource=_resource(role), id_generator=ChosenIds())
    exporter = OTLPSpanExporter(endpoint=_signal_url(settings.otlp_endpoint, "traces"), timeout=push_s_max)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return provider


class ChosenIds(RandomIdGenerator):
    """Ids at random, but for the root of a version's trace (`feedback.tracing`)."""

    def generate_span_id(self) -> int:
        """The id of the next span."""
        chosen = CHOSEN_ROOT.get()
        return super().generate_span_id() if chosen is None else chosen.span_id

    def generate_trace_id(self) -> int:
        """The id of the next trace."""
        chosen = CHOSEN_ROOT.get()
        return super().generate_trace_id() if chosen is None else chosen.trace_id


def fault_line(fault: BaseException) -> dict[str, Any]:
    """Fields for a fault: its class, where it was raised, and its message if no person can have written
    it."""
    frames = traceback.extract_tb(fault.__traceback__)[-_FRAMES_MAX:]
    line = {
        "fault": type(fault).__name__,
        "where": [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames],
    }
    if _has_safe_message(fault):
        line["why"] = mask(str(fault))
    cause = fault.__cause__ or (None if fault.__suppress_context__ else fault.__context__)
    if cause is not None:
        line["cause"] = type(cause).__name__
    return line


def _resource(role: str) -> Resource:
    return Resource.create(
        {
            "service.name": "clorad",
            "service.version": __version__,
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            "clorad.role": role,
        }
    )


def _signal_url(endpoint: str, signal: str) -> str:
    """The collector's URL for metrics or traces. One without a path gets OTLP's (opentelemetry.io).

    A path for metrics becomes that for traces; any other is that of a proxy, and takes both.
    """
    if not urlsplit(endpoint).path.strip("/"):
        return f"{endpoint.rstrip('/')}/v1/{signal}"
    return re.sub(r"/v1/metrics/?$", f"/v1/{signal}", endpoint)


def _has_safe_message(fault: BaseException) -> bool:
    ours = type(fault).__module__.partition(".")[0] in _OURS
    return ours or isinstance(fault, AssertionError | OSError | ImportError | MemoryError)


def _short(path: str) -> str:
    return "/".join(path.rsplit("/", 2)[-2:])


class _AddFields:
    """Adds fields to every line, also in new threads, which start with an empty bound context."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __call__(self, _logger: Any, _method: str, line: Any) -> Any:
        return {**self._fields, **line}


def _with_trace(_logger: Any, _method: str, line: Any) -> Any:
    """The line with the ids of the span that it belongs to (W3C Trace Context), if there is one."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        line |= {
            "trace_id": trace.format_trace_id(context.trace_id),
            "span_id": trace.format_span_id(context.span_id),
        }
    return line


class _FaultWithoutTexts:
    """Replaces `exc_info` by the fields of `fault_line`."""

    def __call__(self, _logger: Any, _method: str, line: Any) -> Any:
        exc_info = line.pop("exc_info", None)
        fault = exc_info[1] if isinstance(exc_info, tuple) else exc_info
        if exc_info is True:
            fault = sys.exc_info()[1]
        if isinstance(fault, BaseException):
            line.update(fault_line(fault))
        return line


def _without_secrets(_logger: Any, _method: str, line: Any) -> Any:
    """The line with every text masked, a library's too. Numbers stay: the token of a lease is no secret."""
    return {
        name: MASK if isinstance(value, str) and is_secret_name(name) else mask_values(value)
        for name, value in line.items()
    }


def _log_fault(
    _kind: type[BaseException], fault: BaseException | None, _trace: TracebackType | None = None
) -> None:
    if isinstance(fault, KeyboardInterrupt | SystemExit) or fault is None:
        return
    log.critical("role died of a fault", **fault_line(fault))
