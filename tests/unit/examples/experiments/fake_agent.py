"""A gateway with one agent that replies by a script, and a producer that keeps what is sent to it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from examples.experiments.agent_client import AgentClient
from examples.experiments.orders import Surroundings

Reply = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]


class RecordingProducer:
    """Keeps the outcomes that an environment sends, and everything in order with its key."""

    def __init__(self) -> None:
        self.sent: list[Mapping[str, Any]] = []
        self.events: list[tuple[str, str, Mapping[str, Any]]] = []  # key, kind, data

    def send_event(self, kind: str, data: Mapping[str, Any], *, key: str) -> str:
        self.events.append((key, kind, data))
        if kind == "outcome":
            self.sent.append(data)
        return key


class FakeAgent:
    """A gateway with one agent, which replies as `reply` says to the messages."""

    def __init__(
        self, reply: Reply, *, versions: tuple[str, ...] = ("v1-aaaaaa",), refusals: int = 0
    ) -> None:
        self._reply = reply
        self._versions = list(versions)
        self._refusals = refusals
        self.asked: list[tuple[Mapping[str, Any], Mapping[str, str]]] = []

    async def routing(self, _: web.Request) -> web.Response:
        version = self._versions.pop(0) if len(self._versions) > 1 else self._versions[0]
        return web.json_response({"agents": {"solver": version}})

    async def chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        if self._refusals:
            self._refusals -= 1
            return web.Response(status=503)
        if body.get("tools") == []:
            return web.json_response({"error": "`tools` must not be an empty array"}, status=400)
        self.asked.append((body, dict(request.headers)))
        message = {"role": "assistant", **self._reply(body["messages"])}
        headers = {"x-clorad-interaction": f"i{len(self.asked)}", "x-clorad-version": "v1-aaaaaa"}
        return web.json_response({"choices": [{"message": message}]}, headers=headers)

    async def run(self, work: Callable[[AgentClient], Awaitable[Any]]) -> Any:
        app = web.Application()
        app.router.add_get("/routing", self.routing)
        app.router.add_post("/v1/chat/completions", self.chat)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        surroundings = Surroundings(gateway=url, key="", bootstrap="", kafka_options={}, folder="")
        try:
            async with AgentClient(surroundings, in_flight_max=8) as client:
                return await work(client)
        finally:
            await runner.cleanup()
