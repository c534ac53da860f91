"""The end of a gateway: nobody is cut off who could have been answered, and who is cut off is counted."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from serving.gateway.shutdown import Leaver, Server
from tests.unit.serving.front import until


class Slow:
    """An application that answers once it is let, and says how many it is asked by."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.let = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.release()
        while not self.let.is_set():
            await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


@contextmanager
def serving(app: Slow, drain_s_max: float) -> Iterator[tuple[Server, str]]:
    config = uvicorn.Config(app, log_config=None, lifespan="off", log_level="critical")
    server = Server(config, drain_s_max=drain_s_max)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield server, f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10.0)
        assert not thread.is_alive()


@pytest.mark.parametrize("patient", [True, False])
def test_who_is_broken_off_is_counted(patient: bool) -> None:
    app, ends = Slow(), list[int | str]()

    def ask(url: str) -> None:
        try:
            ends.append(httpx.get(url, trust_env=False, timeout=10.0).status_code)
        except httpx.TransportError:
            ends.append("cut off")

    with capture_logs() as said:
        with serving(app, drain_s_max=10.0 if patient else 0.2) as (server, url):
            asking = [threading.Thread(target=ask, args=(url,)) for _ in range(2)]
            for one in asking:
                one.start()
                assert app.asked.acquire(timeout=5.0)
            server.should_exit = True
            until(lambda: said)
            if patient:
                app.let.set()
            for one in asking:
                one.join(timeout=10.0)
        told = {line["event"]: line for line in said}
    assert told["gateway closing"]["in_flight"] == 2
    if patient:
        assert ends == [200, 200]
        assert "answers broken off" not in told
    else:
        assert 200 not in ends
        assert told["answers broken off"]["answers"] == 2


def test_a_part_that_is_broken_closes_the_door_though_nobody_asked() -> None:
    server = Server(uvicorn.Config(Slow()), drain_s_max=1.0)
    over, left = threading.Event(), list[bool]()

    def look() -> None:
        over.set()

    Leaver(server, leave_s=60.0).watch(
        threading.Event(),
        over,
        look=look,
        alive=lambda: None,
        left=lambda: left.append(True),
        broken=over.is_set,
    )
    assert server.should_exit
    assert left == []
