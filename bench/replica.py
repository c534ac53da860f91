"""A server that answers like a vLLM replica (0.32) without any computation, and a proxy that only forwards.

They are the baselines of `bench.gateway`, each in a process of its own: `python -m bench.replica
replica|proxy [URL]` prints its port.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any

from aiohttp import ClientSession, TCPConnector, web

from bench.attackers import BREAKS

PATH = "/v1/chat/completions"
TOKENS = 48
CHARACTERS_A_TOKEN = 4
LARGE_BYTES = 64 * 1024
TOKEN_S = 0.02
"""Seconds between the tokens of a streamed answer: 50 tokens per second, as a busy GPU gives each user."""


def choice(place: slice, body: dict[str, Any], *, key: str) -> dict[str, Any]:
    """A part of the only answer; with token ids and log-probabilities if the request asks for them."""
    ids = list(range(1000, 1000 + TOKENS))[place]
    rows: list[dict[str, Any]] = [
        {"token": "word", "logprob": -0.25, "bytes": None, "top_logprobs": []} for _ in ids
    ]
    return {
        "index": 0,
        key: {"role": "assistant", "content": " word" * len(ids)},
        "logprobs": {"content": rows} if body.get("logprobs") else None,
        "finish_reason": "stop" if place.stop in (None, TOKENS) else None,
        "token_ids": ids if body.get("return_token_ids") else None,
    }


def prompt_ids(body: dict[str, Any]) -> list[int] | None:
    """Ids of the prompt, if the request asks for them: as many as its texts and tools have, about."""
    if not body.get("return_token_ids"):
        return None
    texts = json.dumps([body["messages"], body.get("tools")])
    return [1000 + number % 30_000 for number in range(len(texts) // CHARACTERS_A_TOKEN)]


@lru_cache(maxsize=16)
def prepared_answer(prompt_tokens: int, *, asks_for_tokens: bool) -> bytes:
    """The whole answer to a large prompt of that length."""
    wanted = {"logprobs": asks_for_tokens, "return_token_ids": asks_for_tokens}
    prompt = [1000 + number % 30_000 for number in range(prompt_tokens)] if asks_for_tokens else None
    whole = choice(slice(None), wanted, key="message")
    head = {"id": "chat-1", "created": 1, "model": "base", "object": "chat.completion"}
    return json.dumps({**head, "choices": [whole], "prompt_token_ids": prompt}).encode()


async def answer(request: web.Request) -> web.StreamResponse:
    """The whole answer, or one event for each token.

    To a large prompt the same bytes are sent again, and the prompt itself is not decoded: the honest requests
    at this replica would wait for that, and `bench.attack` would measure its own replica. What the gateway
    has to read is the same.
    """
    raw = await request.read()
    if len(raw) > LARGE_BYTES and b'"stream":true' not in raw:
        asks_for_tokens = b'"return_token_ids":true' in raw
        prepared = prepared_answer(len(raw) // CHARACTERS_A_TOKEN, asks_for_tokens=asks_for_tokens)
        return web.Response(body=prepared, content_type="application/json")
    wanted = json.loads(raw)
    if wanted.get("user") == BREAKS and request.transport is not None:
        request.transport.abort()
    head = {"id": "chat-1", "created": 1, "model": wanted["model"]}
    if not wanted.get("stream"):
        whole = choice(slice(None), wanted, key="message")
        body = {
            **head,
            "object": "chat.completion",
            "choices": [whole],
            "prompt_token_ids": prompt_ids(wanted),
        }
        return web.json_response(body)
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    loop = asyncio.get_running_loop()
    begun_s = loop.time()
    for number in range(TOKENS):
        await asyncio.sleep(begun_s + number * TOKEN_S - loop.time())
        part = choice(slice(number, number + 1), wanted, key="delta")
        event = {**head, "object": "chat.completion.chunk", "choices": [part]}
        if number == 0 and (ids := prompt_ids(wanted)) is not None:
            event["prompt_token_ids"] = ids
        await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
    await response.write(b"data: [DONE]\n\n")
    return response


def replica() -> web.Application:
    """The application that answers."""
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post(PATH, answer)
    return app


def proxy(url: str) -> web.Application:
    """The application that forwards requests and answers unchanged."""
    app = web.Application()

    async def connected(_: web.Application) -> AsyncIterator[None]:
        async with ClientSession(connector=TCPConnector(limit=0)) as app[_SESSION]:
            yield

    async def forward(request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        headers = {"content-type": "application/json"}
        async with app[_SESSION].post(url + PATH, data=raw, headers=headers) as reply:
            response = web.StreamResponse(headers={"content-type": reply.headers["content-type"]})
            await response.prepare(request)
            async for part in reply.content.iter_any():
                await response.write(part)
            return response

    app.cleanup_ctx.append(connected)
    app.router.add_post(PATH, forward)
    return app


_SESSION = web.AppKey("session", ClientSession)


async def serve(app: web.Application) -> None:
    """Listen on a free loopback port until killed, and print the port."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(replica() if sys.argv[1] == "replica" else proxy(sys.argv[2])))
