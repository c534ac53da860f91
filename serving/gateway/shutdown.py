"""How a gateway leaves: it says so first, answers until nobody sends any more, and ends what it began.

Load balancers ask `/readyz` every few seconds: a gateway that closed its door at once would turn away what
they send until then. Clients that keep connections are told with each answer to open another one.
"""

import asyncio
import math
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
import uvicorn
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = structlog.get_logger(__name__)

_TICK_S = 0.2


def saying_goodbye(app: ASGIApp, stopping: threading.Event) -> ASGIApp:
    """The application; once `stopping` is set, each answer asks its client for another connection."""

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start" and stopping.is_set():
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await app(scope, receive, told)

    return answered


class Leaver:
    """Ends a server in order. Its `watch` runs in a thread of its own, from start to end."""

    def __init__(self, server: uvicorn.Server, *, leave_s: float) -> None:
        self._server = server
        self._leave_s = leave_s

    def watch(
        self,
        stopping: threading.Event,
        over: threading.Event,
        *,
        look: Callable[[], None],
        alive: Callable[[], None],
        left: Callable[[], None],
        broken: Callable[[], bool],
    ) -> None:
        """`look` at what is needed until told to stop; then `left` is said, and after `leave_s` more the door
        is closed. `alive` is said until all is over. A `broken` part closes the door at once, as `look` does
        by raising."""
        try:
            while not stopping.wait(_TICK_S) and not broken():
                alive()
                look()
            if stopping.is_set():
                left()
            waited_s = 0.0
            while stopping.is_set() and waited_s < self._leave_s and not broken():
                alive()
                over.wait(_TICK_S)
                waited_s += _TICK_S
        finally:
            self._server.should_exit = True
        while not over.wait(_TICK_S):
            alive()


class Server(uvicorn.Server):
    """uvicorn's, whose signals are the role's, and which says what it broke off at the end."""

    def __init__(self, config: uvicorn.Config, *, drain_s_max: float) -> None:
        # A second more: ours comes first and counts, theirs is there should ours not be enough.
        config.timeout_graceful_shutdown = math.ceil(drain_s_max) + 1
        super().__init__(config)
        self._drain_s_max = drain_s_max

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals set `stopping`."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """No more connections; answers in flight end by themselves, or are broken off after `drain_s_max`."""
        log.info("gateway closing", in_flight=len(self.server_state.tasks))
        late = asyncio.get_running_loop().call_later(self._drain_s_max, self._break_off)
        await super().shutdown(sockets)
        late.cancel()

    def _break_off(self) -> None:
        tasks = list(self.server_state.tasks)
        log.warning("answers broken off", answers=len(tasks), after_s=self._drain_s_max)
        for task in tasks:
            task.cancel()
