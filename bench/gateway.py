"""Measures what the gateway costs: added milliseconds, processor time, and requests per second.

The load reaches a replica that answers at once on four interleaved routes: directly (`direct`), through a
plain proxy (`proxy`), through the gateway, and through one that captures all to a real Kafka (`captured`).
"""

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from kafka import TopicPartition

from bench.commit import commit
from bench.gateway_processes import CAPTURED, PLAIN, make_ledger, port_of, ready, start_python
from bench.percentile import percentile
from bench.replica import PATH, TOKENS
from deploy.kafka.broker import LocalBroker, free_port
from feedback.connection import Kafka
from feedback.topics import Topics, create

PACED_PER_S, CLIENTS, STREAMS = 50.0, 32, 40
MESSAGES = [
    {"role": "system", "content": "You look after orders. " + "Answer with one call and nothing else. " * 20},
    {"role": "user", "content": "cancel order 1042, it was charged twice and the customer is waiting"},
]


def long_request() -> dict[str, Any]:
    """Some 2,000 tokens with five tools: what an agent's tenth turn looks like."""
    text = "The order was paid on Monday, sent on Tuesday, and came back because nobody was at home. " * 8
    turns = [
        {"role": ("user", "assistant")[number % 2], "content": f"{number}. {text}"} for number in range(7)
    ]
    field = {"type": "string", "description": "What the customer gave, as it stands in the order"}
    tools = [
        {
            "type": "function",
            "function": {
                "name": f"tool_{number}",
                "description": "Changes one order, and says what it has become",
                "parameters": {"type": "object", "properties": {"order": field, "reason": field}},
            },
        }
        for number in range(5)
    ]
    return {"messages": [MESSAGES[0], *turns], "tools": tools}


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLoad:
    """The number of rounds, and the duration of each load in a round."""

    rounds: int
    load_s: float


QUICK, FULL = GatewayLoad(rounds=1, load_s=2.5), GatewayLoad(rounds=5, load_s=8.0)


@dataclass(slots=True)
class GatewayRoute:
    """One route to the replica; `pid` is the process between client and replica."""

    url: str
    model: str
    pid: int | None = None
    answers: int = 0
    api_key: str | None = None
    asked: Mapping[str, Any] = field(default_factory=lambda: {"messages": MESSAGES})

    def cpu_s(self) -> float:
        """Processor seconds of that process, all its threads. Linux only."""
        if self.pid is None:
            return 0.0
        spent = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(spent[11]) + int(spent[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class RouteSamples:
    """The measurements of one route, over all rounds."""

    paced_ms: list[float] = field(default_factory=list)
    first_token_ms: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    cpu_ms_per_request: list[float] = field(default_factory=list)
    cpu_us_per_token: list[float] = field(default_factory=list)


async def ask(session: aiohttp.ClientSession, route: GatewayRoute, *, stream: bool) -> float:
    """Milliseconds to the end of the answer, or to the first token of a streamed answer."""
    begun_s, first_s, received = time.perf_counter(), 0.0, b""
    body = {"model": route.model, **route.asked, "temperature": 0.7, "stream": stream}
    headers = {} if route.api_key is None else {"authorization": f"Bearer {route.api_key}"}
    async with session.post(route.url + PATH, json=body, headers=headers) as response:
        assert response.status == 200, await response.text()
        async for part in response.content.iter_any():
            first_s = first_s or time.perf_counter()
            received += part
    assert received.count(b" word") == TOKENS, "an answer was incomplete"
    route.answers += 1
    return ((first_s if stream else time.perf_counter()) - begun_s) * 1000


async def measure_paced(session: aiohttp.ClientSession, route: GatewayRoute, load_s: float) -> list[float]:
    """Milliseconds of requests that begin at fixed times, whether earlier ones have ended or not."""
    loop = asyncio.get_running_loop()
    begun_s, requests = loop.time(), []
    for number in range(int(load_s * PACED_PER_S)):
        await asyncio.sleep(begun_s + number / PACED_PER_S - loop.time())
        requests.append(asyncio.create_task(ask(session, route, stream=False)))
    return await asyncio.gather(*requests)


async def measure_throughput(session: aiohttp.ClientSession, route: GatewayRoute, load_s: float) -> int:
    """Number of answers to `CLIENTS` clients, each of which sends its next request at once."""
    until_s = time.perf_counter() + load_s

    async def client() -> int:
        answered = 0
        while time.perf_counter() < until_s:
            await ask(session, route, stream=False)
            answered += 1
        return answered

    return sum(await asyncio.gather(*(client() for _ in range(CLIENTS))))


async def measure_streams(session: aiohttp.ClientSession, route: GatewayRoute, load_s: float) -> list[float]:
    """Milliseconds to the first token of `STREAMS` concurrent streams."""
    until_s = time.perf_counter() + load_s

    async def client(number: int) -> list[float]:
        await asyncio.sleep(number / STREAMS)
        done = []
        while time.perf_counter() < until_s:
            done.append(await ask(session, route, stream=True))
        return done

    by_client = await asyncio.gather(*(client(number) for number in range(STREAMS)))
    return [ms for client_ms in by_client for ms in client_ms]


async def measure(routes: Mapping[str, GatewayRoute], size: GatewayLoad) -> dict[str, RouteSamples]:
    """Measure every route under every load, round by round."""
    samples = {name: RouteSamples() for name in routes}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for route in routes.values():
            await measure_throughput(session, route, 1.0)  # connections, caches
        for _ in range(size.rounds):
            for name, route in routes.items():
                taken = samples[name]
                taken.paced_ms += await measure_paced(session, route, size.load_s)
                before_s, begun_s = route.cpu_s(), time.perf_counter()
                done = await measure_throughput(session, route, size.load_s)
                taken.per_s.append(done / (time.perf_counter() - begun_s))
                taken.cpu_ms_per_request.append((route.cpu_s() - before_s) * 1e3 / done)
                before_s = route.cpu_s()
                first_ms = await measure_streams(session, route, size.load_s)
                taken.first_token_ms += first_ms
                taken.cpu_us_per_token.append((route.cpu_s() - before_s) * 1e6 / (len(first_ms) * TOKENS))
    return samples


def figures(samples_by_route: Mapping[str, RouteSamples]) -> dict[str, Any]:
    """The figures of each route, and the difference between `captured` and `direct`."""
    by_route = {
        name: {
            "ms_p50": round(percentile(samples.paced_ms, 50), 2),
            "ms_p99": round(percentile(samples.paced_ms, 99), 2),
            "first_token_ms_p50": round(percentile(samples.first_token_ms, 50), 2),
            "first_token_ms_p99": round(percentile(samples.first_token_ms, 99), 2),
            "requests_per_s": round(statistics.median(samples.per_s), 1),
            "cpu_ms_per_request": round(statistics.median(samples.cpu_ms_per_request), 3),
            "cpu_us_per_token": round(statistics.median(samples.cpu_us_per_token), 1),
        }
        for name, samples in samples_by_route.items()
    }

    def added(figure: str) -> float:
        return round(by_route["captured"][figure] - by_route["direct"][figure], 2)

    return {
        "added_ms_p50": added("ms_p50"),
        "added_ms_p99": added("ms_p99"),
        "first_token_added_ms_p50": added("first_token_ms_p50"),
        "requests_per_s": by_route["captured"]["requests_per_s"],
        "cpu_ms_per_request": by_route["captured"]["cpu_ms_per_request"],
        "cpu_us_per_token": by_route["captured"]["cpu_us_per_token"],
        "ways": by_route,
    }


def count_interactions(cluster: Kafka) -> int:
    """Number of interactions on the topic, which also has the counts of live signals."""
    place = TopicPartition(Topics().interactions, 0)
    consumer = cluster.consumer(group_id=None)
    captures = 0
    try:
        end = consumer.end_offsets([place])[place]
        consumer.assign([place])
        consumer.seek_to_beginning()
        while consumer.position(place) < end:
            for records in consumer.poll(timeout_ms=1000).values():
                captures += sum(is_capture(record.headers) for record in records)
        return captures
    finally:
        consumer.close()


def is_capture(headers: Sequence[tuple[str, bytes]]) -> bool:
    """Whether these are the headers of an interaction."""
    return dict(headers).get("ce_type") == b"clorad.interaction.v1"


def run(folder: Path, size: GatewayLoad) -> dict[str, Any]:
    """Start broker, replica, proxy and gateway, measure, and stop them."""
    with ExitStack() as running:
        broker = LocalBroker(folder / "kafka", free_port())
        broker.start()
        running.callback(broker.kill)
        cluster = Kafka(bootstrap_servers=broker.bootstrap, options={})
        create(cluster, Topics(), partitions=1, replication=1)
        replica = running.enter_context(start_python("-m", "bench.replica", "replica"))
        url = f"http://127.0.0.1:{port_of(replica)}"
        proxy = running.enter_context(start_python("-m", "bench.replica", "proxy", url))
        port = free_port()
        config = folder / "clorad.toml"
        config.write_text(
            f'[kafka]\nbootstrap_servers = "{broker.bootstrap}"\n'
            f'[ledger]\nurl = "{make_ledger(folder, url)}"\n'
            f'[fleet]\nreplicas = ["{url}"]\n[gateway]\nport = {port}\n'
        )
        gateway = running.enter_context(
            start_python("-m", "daemon", "--config", str(config), "gateway", log=folder / "gateway.log")
        )
        asyncio.run(ready(f"http://127.0.0.1:{port}/readyz"))
        own = f"http://127.0.0.1:{port}"
        routes = {
            "direct": GatewayRoute(url, PLAIN),
            "proxy": GatewayRoute(f"http://127.0.0.1:{port_of(proxy)}", PLAIN, proxy.pid),
            "gateway": GatewayRoute(own, PLAIN, gateway.pid),
            "captured": GatewayRoute(own, CAPTURED, gateway.pid),
        }
        samples = asyncio.run(measure(routes, size))
        gateway.terminate()
        gateway.wait()
        return {
            **figures(samples),
            "kept_share": round(count_interactions(cluster) / routes["captured"].answers, 4),
            "answers": sum(route.answers for route in routes.values()),
        }


def main() -> None:
    """`python -m bench.gateway [--quick] [--against CHECKOUT] --json`; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="accepted for symmetry; it always prints JSON")
    parser.add_argument("--quick", action="store_true", help="one short round: under a minute")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="CHECKOUT",
        help="another commit's work tree: its gateway beside ours, which asks for keys and counts limits",
    )
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory(prefix="clorad-gateway-") as folder:
        if options.against is None:
            result = run(Path(folder), size)
        else:
            from bench.gateway_comparison import compare

            result = compare(Path(folder), size, options.against.resolve())
    about = {"rounds": size.rounds, "commit": commit(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    print(json.dumps({**result, **about}))


if __name__ == "__main__":
    main()
