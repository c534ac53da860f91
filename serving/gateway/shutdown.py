"""Shuts the gateway down in order: `/readyz` turns red, requests are accepted a while longer, then it drains.

Load balancers poll `/readyz` every few seconds; a gateway that closed its port at once would refuse what they
send until the next poll. Each answer during shutdown asks its client to open another connection.
"""

import asyncio
import math
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
import uvicorn

log = structlog.get_logger(__name__)

_TICK_S = 0.2

BACKLOG = 2048
"""Connections that the operating system keeps until the gateway accepts them."""

ACCEPTED_AT_ONCE = 16
"""Connections that are accepted before others are served: a thousand at once would take a quarter second."""


class ShutdownWatcher:
    """Ends a server in order. `watch` runs in a thread of its own for as long as the server does."""

    def __init__(self, server: uvicorn.Server, *, delay_s: float) -> None:
        self._server = server
        self._delay_s = delay_s

    def watch(
        self,
        stopping: threading.Event,
        over: threading.Event,
        *,
        check: Callable[[], None],
        alive: Callable[[], None],
        unready: Callable[[], None],
        broken: Callable[[], bool],
    ) -> None:
        """Calls `check` until `stopping` is set, then `unready`, and ends the server `delay_s` later.

        A `broken` part, or a `check` that raises, ends the server at once. `alive` is called until `over`.
        """
        try:
            while not stopping.wait(_TICK_S) and not broken():
                alive()
                check()
            if stopping.is_set():
                unready()
            waited_s = 0.0
            while stopping.is_set() and waited_s < self._delay_s and not broken():
                alive()
                over.wait(_TICK_S)
                waited_s += _TICK_S
        finally:
            self._server.should_exit = True
        while not over.wait(_TICK_S):
            alive()


class GatewayServer(uvicorn.Server):
    """uvicorn's server. The role handles the signals; the log counts the answers that shutdown cut off."""

    def __init__(self, config: uvicorn.Config, *, drain_s_max: float) -> None:
        # uvicorn's own limit is a second later: it applies where cancelling was not enough.
        config.timeout_graceful_shutdown = math.ceil(drain_s_max) + 1
        super().__init__(config)
        self._drain_s_max = drain_s_max

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The role's signal handlers set `stopping`; uvicorn installs none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. asyncio also takes `Config.backlog` for how many connections it accepts at once."""
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(BACKLOG)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections; answers in flight end, or are cut off after `drain_s_max`."""
        log.info("gateway closing", in_flight=len(self.server_state.tasks))
        cutoff = asyncio.get_running_loop().call_later(self._drain_s_max, self._cut_off)
        await super().shutdown(sockets)
        cutoff.cancel()

    def _cut_off(self) -> None:
        tasks = list(self.server_state.tasks)
        log.warning("answers cut off", answers=len(tasks), after_s=self._drain_s_max)
        for task in tasks:
            task.cancel()
