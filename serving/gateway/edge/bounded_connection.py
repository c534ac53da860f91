"""uvicorn's HTTP/1.1 connection with bounds: bytes and number of headers, seconds for each part of a request.

uvicorn's parser (httptools) has no limits of its own; uvicorn's other parser (h11) has some, and costs a
quarter more CPU a request. What exceeds a bound is refused, and its connection is closed.
When a client leaves, the task that answers it is cancelled: its replica must not go on for nobody.
"""

import asyncio
import json
import re
import time
from functools import partial
from typing import Any
from uuid import uuid4

import httptools
from starlette.responses import JSONResponse
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from serving.gateway.edge.application import REQUEST_ID
from serving.gateway.edge.connections import Connections, network_of
from serving.gateway.edge.errors import RequestRefused, count_refusal
from serving.gateway.edge.limits import GatewayLimits

LINGER_S = 1.0
"""Seconds for which a refused client may go on sending, unread: a reset would take the refusal from it."""

UNWANTED_BYTES_MAX = 8 * 1024 * 1024
"""Bytes that are read and dropped after a refusal: who sends more is cut off at once."""

PIPELINED_MAX = 8
"""Requests that may wait behind one that is being answered; then the connection is not read until it is."""

_UPGRADE = re.compile(rb"(\r\n)u(?=pgrade[ \t]*:)", re.IGNORECASE)
"""The header by which clients wish for another protocol (Java's for h2c, on every request).

A server may ignore it (RFC 9110, section 7.8), but the parser then leaves out the request's body. So its name
is changed before the parser sees it. No JSON text has these bytes.
"""


class _BoundExceededError(Exception):
    """Raised in a callback of the parser, to stop it."""

    def __init__(self, refusal: RequestRefused) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class BoundedConnection(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        all_connections: Connections,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._all = all_connections
        self._limits = all_connections.limits
        self._answering: RequestResponseCycle | None = None
        self._task: asyncio.Task[None] | None = None  # it answers `_answering`
        self._deadline: asyncio.TimerHandle | None = None
        self._timed = (0, "")  # the message, and its part, that the deadline is for
        self._part = ""  # what arrives: "headers", "body", or "" between two requests
        self._messages = 0
        self._head_bytes = 0
        self._unparsed_bytes = 0  # given to the parser since it last gave something back
        self._network = ""
        self._deaf = False  # what still arrives is dropped
        self._unwanted_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._network = network_of(self.client[0] if self.client else "")
        self._wait_for("first request", self._limits.idle_s_max)
        self._all.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.closed(self)
        self._cancel_deadline()
        self._unset_keepalive_if_required()
        self.pipeline.clear()
        super().connection_lost(exc)
        self._abandon()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._unwanted_bytes += len(data)
            if self._unwanted_bytes > UNWANTED_BYTES_MAX:
                self.transport.abort()
            return
        self._unparsed_bytes += len(data)
        if self._part != "body" and b"pgrade" in data:
            data = _UPGRADE.sub(rb"\1x", data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # `_UPGRADE` did not see the header, as it came in two parts
            self._read_no_more()
            self.cycle.keep_alive = False
            return
        except httptools.HttpParserError as fault:
            exceeded = fault.__context__
            if isinstance(exceeded, _BoundExceededError):
                self.refuse(exceeded.refusal)
            else:
                self.refuse(RequestRefused(400, "not an HTTP request", "not_http"))
            return
        if self._unparsed_bytes > self._limits.header_bytes_max:
            self.refuse(self._headers_too_large())
        elif self._timed != (self._messages, self._part):
            self._time_part()

    def refuse(self, refusal: RequestRefused) -> None:
        """Tell the client why, and close the connection. An earlier request on it is still answered."""
        count_refusal(refusal.reason)
        self._read_no_more()
        self.pipeline.clear()
        answering = self._answering
        if answering is None or answering.response_complete:
            self._write(refusal)
        elif self._part == "body" and answering is self.cycle:
            if not answering.response_started:
                self._write(refusal)
            self._abandon()
        else:
            answering.keep_alive = False
            return
        self._close_after_reading()

    def drop(self, reason: str) -> None:
        """Close at once and without an answer."""
        count_refusal(reason)
        self._read_no_more()
        self.transport.abort()

    # The parser's callbacks. An exception in one stops the parser.

    def on_message_begin(self) -> None:
        self._part, self._messages = "headers", self._messages + 1
        self._head_bytes = self._unparsed_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + 4)
        if self._part != "headers":
            return  # a trailer: nobody reads it, and it must not pass for a header
        if len(self.headers) >= self._limits.headers_max:
            raise _BoundExceededError(self._headers_too_large())
        if name.lower() == b"transfer-encoding" and not self._reads_coding(value):
            raise _BoundExceededError(RequestRefused(400, "transfer-encoding: chunked only", "not_http"))
        super().on_header(name, value)

    def _reads_coding(self, value: bytes) -> bool:
        """Whether this transfer coding frames a body as others on its way read it (RFC 9112, section 6.1).

        In HTTP/1.0 it has no meaning, and a body that is packed in transfer would not be unpacked here.
        """
        return value.strip().lower() == b"chunked" and self.parser.get_http_version() != "1.0"

    def on_headers_complete(self) -> None:
        self._part = "body"
        super().on_headers_complete()
        if self.pipeline and len(self.pipeline) < PIPELINED_MAX:
            self.flow.resume_reading()  # otherwise nobody notices that the client leaves

    def on_body(self, body: bytes) -> None:
        self._unparsed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._part, self._unparsed_bytes = "", 0
        self._all.busy(self)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        more = bool(self.pipeline)
        super().on_response_complete()
        if more or self.transport.is_closing():
            return
        if self._part == "body":  # the rest of a body is not wanted any more
            self._read_no_more()
            self._close_after_reading()
        else:
            self._all.idle(self)

    def timeout_keep_alive_handler(self) -> None:
        self._close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._unset_keepalive_if_required()
        try:
            self._all.admit(self, self._network, cycle.scope["path"])
        except RequestRefused as refusal:
            count_refusal(refusal.reason)
            body, headers = refusal.body_for(cycle.scope["path"]), {REQUEST_ID: uuid4().hex}
            app = JSONResponse(body, refusal.status, headers | refusal.headers)
            cycle.keep_alive = False
        self._answering = cycle
        self._task = self.loop.create_task(cycle.run_asgi(app))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    def _count_head(self, size: int) -> None:
        self._unparsed_bytes = 0
        self._head_bytes += size
        if self._head_bytes > self._limits.header_bytes_max:
            raise _BoundExceededError(self._headers_too_large())

    def _headers_too_large(self) -> RequestRefused:
        text = f"at most {self._limits.headers_max} headers, of {self._limits.header_bytes_max} bytes in all"
        return RequestRefused(431, text, "headers")

    def _time_part(self) -> None:
        self._cancel_deadline()
        self._timed = (self._messages, self._part)
        if self._part == "headers":
            self._wait_for("headers", self._limits.header_s_max)
        elif self._part == "body":
            self._wait_for("body", self._limits.body_s_max)

    def _wait_for(self, part: str, wait_s_max: float) -> None:
        self._deadline = self.loop.call_later(wait_s_max, self._too_late, part, wait_s_max)

    def _too_late(self, part: str, wait_s_max: float) -> None:
        if part == "first request":
            self._close()
        elif self.flow.read_paused:  # not the client's fault: requests wait for the one before
            self._wait_for(part, wait_s_max)
        else:
            text = f"the {part} did not arrive within {wait_s_max:.0f} s"
            self.refuse(RequestRefused(408, text, f"slow_{part}"))

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _abandon(self) -> None:
        """Nobody reads the answer any more: the replica must not go on working on it."""
        cycle = self._answering
        if cycle is not None and self._task is not None and not cycle.response_complete:
            cycle.disconnected = True
            self._task.cancel()

    def _read_no_more(self) -> None:
        self._deaf = True
        self._cancel_deadline()

    def _write(self, refusal: RequestRefused) -> None:
        if not self.transport.is_closing():
            path = self.url.partition(b"?")[0].decode("latin-1") if self._part else ""
            self.transport.write(_response(refusal, path))

    def _close_after_reading(self) -> None:
        """Close after `LINGER_S`, in which the client may read what was written."""
        if self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self.loop.call_later(LINGER_S, self.transport.abort)
        else:
            self._close()

    def _close(self) -> None:
        """Close now; what the client has not read by now is lost."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()


def connection_factory(limits: GatewayLimits) -> Any:
    """What uvicorn calls for each new connection; all that one factory makes share the limits."""
    return partial(BoundedConnection, all_connections=Connections(limits, clock_s=time.monotonic))


def _response(refusal: RequestRefused, path: str) -> bytes:
    body = json.dumps(refusal.body_for(path)).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
        REQUEST_ID: uuid4().hex,
        **refusal.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return STATUS_LINE[refusal.status] + lines.encode() + b"\r\n" + body
