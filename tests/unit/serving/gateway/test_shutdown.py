"""Shutdown of a gateway: answers in flight finish in time, and those that are cut off are counted."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from serving.gateway.shutdown import ACCEPTED_AT_ONCE, GatewayServer, ShutdownWatcher
from tests.unit.serving.gateway.gateway_builder import ASK, LOOPBACK, ask_agent, build_gateway, wait_until
from tests.unit.serving.serving_environment import ServingEnvironment


class Slow:
    """An application that answers once `let` is set, and counts requests."""

    def __init__(self) -> None:
        self.requests = threading.Semaphore(0)
        self.let = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests.release()
        while not self.let.is_set():
            await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


@contextmanager
def serving(app: Slow, drain_s_max: float) -> Iterator[tuple[GatewayServer, str]]:
    config = uvicorn.Config(app, log_config=None, lifespan="off", log_level="critical")
    server = GatewayServer(config, drain_s_max=drain_s_max)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield server, f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10.0)
        assert not thread.is_alive()


@pytest.mark.parametrize("patient", [True, False])
def test_answers_that_are_cut_off_are_counted(patient: bool) -> None:
    app, ends = Slow(), list[int | str]()

    def ask(url: str) -> None:
        try:
            ends.append(httpx.get(url, timeout=10.0, **LOOPBACK).status_code)
        except httpx.TransportError:
            ends.append("cut off")

    with capture_logs() as logs:
        with serving(app, drain_s_max=10.0 if patient else 0.2) as (server, url):
            threads = [threading.Thread(target=ask, args=(url,)) for _ in range(2)]
            for thread in threads:
                thread.start()
                assert app.requests.acquire(timeout=5.0)
            server.should_exit = True
            wait_until(lambda: logs)
            if patient:
                app.let.set()
            for thread in threads:
                thread.join(timeout=10.0)
        log_of_event = {line["event"]: line for line in logs}
    assert log_of_event["gateway closing"]["in_flight"] == 2
    if patient:
        assert ends == [200, 200]
        assert "answers cut off" not in log_of_event
    else:
        assert 200 not in ends
        assert log_of_event["answers cut off"]["answers"] == 2


def test_a_broken_part_ends_the_server_at_once() -> None:
    server = GatewayServer(uvicorn.Config(Slow()), drain_s_max=1.0)
    over, unready = threading.Event(), list[bool]()

    def check() -> None:
        over.set()

    ShutdownWatcher(server, delay_s=60.0).watch(
        threading.Event(),
        over,
        check=check,
        alive=lambda: None,
        unready=lambda: unready.append(True),
        broken=over.is_set,
    )
    assert server.should_exit
    assert unready == []


def test_shutdown_lets_answers_in_flight_finish(two_replicas: ServingEnvironment) -> None:
    for fake in two_replicas.replicas:
        fake.faults.answer_delay_s = 1.0
    with build_gateway(two_replicas.database) as gateway:
        wait_until(lambda: gateway.get("/readyz").status_code == 200)
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(ask_agent, gateway) for _ in range(4)]
            wait_until(lambda: sum(fake.in_flight for fake in two_replicas.replicas) == 4)
            gateway.stopping.set()
            assert all(answer.result(timeout=10).startswith("v1-") for answer in waiting)
    assert len(gateway.sends.data("clorad.interactions")) == 4, "the last answers are captured too"


def test_a_gateway_that_shuts_down_is_unready_first_and_goes_on_answering(
    two_replicas: ServingEnvironment,
) -> None:
    with build_gateway(two_replicas.database, shutdown_delay_s=3.0) as gateway:
        wait_until(lambda: gateway.get("/readyz").status_code == 200)
        with httpx.Client(base_url=gateway.url, timeout=10.0, **LOOPBACK) as client:
            assert "connection" not in client.get("/v1/models").headers
            gateway.stopping.set()
            unready = client.get("/readyz")
            assert (unready.status_code, unready.json()["why"]) == (503, "asked to stop")
            assert unready.headers["connection"] == "close"
            wait_until(lambda: gateway.health.checks.get("routing") is False)
            assert client.get("/healthz").status_code == 200
            time.sleep(0.5)  # longer than a server that closes at once would take
            answer = client.post("/v1/chat/completions", json={"model": "billing", "messages": ASK})
            assert (answer.status_code, answer.headers["connection"]) == (200, "close")


CLIENTS = 10 * ACCEPTED_AT_ONCE


async def most_accepted_in_a_turn() -> int:
    """Of `CLIENTS` connections that wait, how many at most one turn of the loop opened."""
    opened, most = 0, 0

    class Counting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            nonlocal opened
            opened += 1

    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0), backlog=CLIENTS) as listening:
        clients = [socket.create_connection(listening.getsockname()) for _ in range(CLIENTS)]
        server = await loop.create_server(Counting, sock=listening, backlog=ACCEPTED_AT_ONCE)
        while opened < CLIENTS:
            before = opened
            await asyncio.sleep(0)
            most = max(most, opened - before)
        for client in clients:
            client.close()
        server.close()
    return most


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_turn_of_the_loop_accepts_a_few_connections(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert 0 < runner.run(most_accepted_in_a_turn()) <= ACCEPTED_AT_ONCE
