"""Hostile clients, in a process of their own: `python -m bench.attackers ATTACK HOST:PORT` until killed.

Prints `begun`, then the status of each answer. Each attack is a coroutine that runs for ever; it opens
connections again that the gateway closes.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

BREAKS = "breaks"
"""A request of this `user` makes a replica break its connection off."""

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
CAPTURED = "captured"  # the agent
BEGUN = "begun"
PAUSE_S = 0.05
SLOW_CLIENTS, IDLE_CLIENTS, FLOODS = 300, 1000, 4

Address = tuple[str, int]


async def slow_clients(address: Address) -> None:
    """Headers and bodies that arrive byte by byte."""

    async def slow(number: int) -> None:
        begin = HEAD if number % 2 else HEAD + b"content-length: 100000\r\n\r\n{"
        while True:
            with contextlib.suppress(OSError):
                async with connection(address) as (_, writer):
                    writer.write(begin)
                    for _ in range(60):
                        writer.write(b"x")
                        await writer.drain()
                        await asyncio.sleep(1.0)

    await asyncio.gather(*(slow(number) for number in range(SLOW_CLIENTS)))


async def header_flood(address: Address) -> None:
    """One header of 16 MiB, then 100,000 short ones, and again."""
    long_header = [HEAD + b"x: ", *[b"a" * 65536] * 256, b"\r\n\r\n"]
    short_headers = [HEAD, *[b"".join(b"x%d: 1\r\n" % number for number in range(1000))] * 100, b"\r\n"]

    async def flood(number: int) -> None:
        while True:
            await send(address, long_header if number % 2 else short_headers)

    await asyncio.gather(*(flood(number) for number in range(FLOODS)))


async def deep_bodies(address: Address) -> None:
    """Bodies that nest objects and lists from 30 to 100,000 levels deep."""
    levels = (30, 64, 65, 340, 5_000, 100_000)

    def deep(depth: int) -> bytes:
        inner = '{"a":' * depth + "1" + "}" * depth
        text = '{"model":"%s","messages":[{"role":"user","content":"hi","x":%s}]}'
        return (text % (CAPTURED, inner)).encode()

    await post_all(address, [deep(depth) for depth in levels])


async def large_bodies(address: Address) -> None:
    """Bodies of 4 MiB: lists, numbers, names, and one long text; too many values or bytes for the gateway."""
    values = [b"[]," * 1_380_000, b"1," * 2_000_000, b'"a",' * 1_000_000, b'"%s",' % (b"x" * 4_000_000)]
    await post_all(address, [b'{"model":"nope","x":[' + inner + b"1]}" for inner in values])


async def capture_flood(address: Address) -> None:
    """Requests of nearly 2 MiB and of 200 KB to an agent whose answers are captured.

    The small ones fit into an event: their tokens are asked for, decoded and packed, their texts redacted.
    One character makes a text wide; the rest is slow to redact.
    """
    texts = ("4-1 " * 480_000, "4-1 " * 48_000, " token=abc " * 18_000, "4-1 " * 48_001)
    bodies = [
        {"model": CAPTURED, "messages": [{"role": "user", "content": "\N{GRINNING FACE}" + text}]}
        for text in texts
    ]
    await post_all(address, [json.dumps(body).encode() for body in bodies])


async def breaking_requests(address: Address) -> None:
    """Requests on which replicas break the connection off."""
    body = {"model": CAPTURED, "messages": [{"role": "user", "content": "hi"}], "user": BREAKS}
    await post_all(address, [json.dumps(body).encode()])


async def idle_connections(address: Address) -> None:
    """A thousand connections that send nothing."""

    async def idle() -> None:
        while True:
            with contextlib.suppress(OSError):
                async with connection(address) as (reader, _):
                    await reader.read()

    await asyncio.gather(*(idle() for _ in range(IDLE_CLIENTS)))


ATTACKS: dict[str, Callable[[Address], Awaitable[None]]] = {
    attack.__name__: attack
    for attack in (
        slow_clients,
        header_flood,
        deep_bodies,
        large_bodies,
        capture_flood,
        breaking_requests,
        idle_connections,
    )
}


async def post_all(address: Address, bodies: list[bytes]) -> None:
    """Send the bodies one after the other, over several connections at once, for ever."""

    async def post(number: int) -> None:
        while True:
            body = bodies[number % len(bodies)]
            await send(address, [HEAD + b"content-length: %d\r\n\r\n" % len(body), body])
            number += 1
            await asyncio.sleep(PAUSE_S)

    await asyncio.gather(*(post(number) for number in range(FLOODS)))


async def send(address: Address, parts: list[bytes]) -> None:
    """Send one request over a new connection, and print the status that comes back."""
    with contextlib.suppress(OSError, TimeoutError):
        async with connection(address) as (reader, writer), asyncio.timeout(10.0):
            for part in parts:
                writer.write(part)
                await writer.drain()
            answer = await reader.read(65536)
            print(answer[9:12].decode() or "closed", flush=True)


@asynccontextmanager
async def connection(address: Address) -> AsyncIterator[tuple[asyncio.StreamReader, Any]]:
    """A connection, closed at the end; after one that failed there is a short pause."""
    try:
        reader, writer = await asyncio.open_connection(*address)
    except OSError:
        await asyncio.sleep(PAUSE_S)
        raise
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


if __name__ == "__main__":
    print(BEGUN, flush=True)
    host, _, port = sys.argv[2].partition(":")
    asyncio.run(ATTACKS[sys.argv[1]]((host, int(port))))  # type: ignore[arg-type]
