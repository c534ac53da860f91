"""What answers as a vLLM replica does, at once and of nothing, and a proxy that only hands on.

The baselines of `bench.gateway`, each a process of its own: `python -m bench.replica replica|proxy [URL]`
prints its port.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import ClientSession, TCPConnector, web

PATH = "/v1/chat/completions"
TOKENS = 48
TOKEN_S = 0.02
"""Between the tokens of a streamed answer: fifty a second, as a busy GPU gives each of its users."""


def choice(place: slice, asked: dict[str, Any], *, key: str) -> dict[str, Any]:
    """Some tokens of the one answer there is; with what a capture asks for where it does."""
    ids = list(range(1000, 1000 + TOKENS))[place]
    rows: list[dict[str, Any]] = [
        {"token": "word", "logprob": -0.25, "bytes": None, "top_logprobs": []} for _ in ids
    ]
    return {
        "index": 0,
        key: {"role": "assistant", "content": " word" * len(ids)},
        "logprobs": {"content": rows} if asked.get("logprobs") else None,
        "finish_reason": "stop" if place.stop in (None, TOKENS) else None,
        "token_ids": ids if asked.get("return_token_ids") else None,
    }


async def answer(request: web.Request) -> web.StreamResponse:
    """The whole answer, or one event a token."""
    asked = await request.json()
    head = {"id": "chat-1", "created": 1, "model": asked["model"]}
    if not asked.get("stream"):
        body = {**head, "object": "chat.completion", "choices": [choice(slice(None), asked, key="message")]}
        return web.json_response(body)
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    for number in range(TOKENS):
        await asyncio.sleep(begun_s + number * TOKEN_S - loop.time())
        part = choice(slice(number, number + 1), asked, key="delta")
        event = {**head, "object": "chat.completion.chunk", "choices": [part]}
        await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    return response


def replica() -> web.Application:
    """The one that answers."""
    app = web.Application()
    app.router.add_post(PATH, answer)
    return app


def proxy(url: str) -> web.Application:
    """The one that hands on what it is given, byte by byte, and looks at nothing."""
    app = web.Application()

    async def connected(_: web.Application) -> AsyncIterator[None]:
        async with ClientSession(connector=TCPConnector(limit=0)) as app[_SESSION]:
            yield

    async def hand_on(request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        headers = {"content-type": "application/json"}
        async with app[_SESSION].post(url + PATH, data=raw, headers=headers) as answered:
            response = web.StreamResponse(headers={"content-type": answered.headers["content-type"]})
            await response.prepare(request)
            async for part in answered.content.iter_any():
                await response.write(part)
            return response

    app.cleanup_ctx.append(connected)
    app.router.add_post(PATH, hand_on)
    return app


_SESSION = web.AppKey("session", ClientSession)


async def serve(app: web.Application) -> None:
    """Listen on a free port of loopback until killed; says which."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(replica() if sys.argv[1] == "replica" else proxy(sys.argv[2])))
