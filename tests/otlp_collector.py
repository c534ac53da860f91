"""An OpenTelemetry collector that writes the traces it receives (OTLP/HTTP, protobuf) to a file."""

import base64
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedSpan:
    """A span as the file has it; ids in hex."""

    name: str
    role: str
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]  # traces
    began_ns: int
    attributes: dict[str, Any]


class OtlpCollector:
    """Listens until closed. Metrics are accepted and forgotten."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.touch()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._write))
        self._lock = threading.Lock()
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def spans(self) -> list[ExportedSpan]:
        """Every span in the file."""
        return [
            span for line in self.file.read_text().splitlines() for span in _spans(base64.b64decode(line))
        ]

    def _write(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            with self._lock, self.file.open("a") as file:
                file.write(base64.b64encode(body).decode() + "\n")


def _spans(body: bytes) -> list[ExportedSpan]:
    spans = []
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        of_resource = {item.key: item.value.string_value for item in resource.resource.attributes}
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            spans.append(
                ExportedSpan(
                    name=span.name,
                    role=of_resource.get("clorad.role", ""),
                    trace=span.trace_id.hex(),
                    id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    links=tuple(link.trace_id.hex() for link in span.links),
                    began_ns=span.start_time_unix_nano,
                    attributes={
                        item.key: item.value.string_value or item.value.int_value for item in span.attributes
                    },
                )
            )
    return spans


def _handler(write: Callable[[str, bytes], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            write(self.path, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: roles send every few seconds."""

    return Handler
