"""What the gateway costs its clients: added milliseconds, processor time, requests a second.

Between the load and a replica that answers at once stand: nothing (`direct`), a plain proxy (`proxy`), the
gateway, and the gateway that keeps every interaction on a real Kafka (`captured`), interleaved.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from kafka import TopicPartition

from bench.commit import commit
from bench.replica import PATH, TOKENS
from deploy.kafka.broker import LocalBroker, free_port
from feedback.connection import Kafka
from feedback.topics import Topics, create
from ledger.database import Database
from ledger.identity import ensure_identity
from ledger.learning import agents
from ledger.versions import routing

PACED_PER_S, CLIENTS, STREAMS, READY_S_MAX = 50.0, 32, 40, 60.0
PLAIN, CAPTURED = "plain", "captured"  # agents
MESSAGES = [
    {"role": "system", "content": "You look after orders. " + "Answer with one call and nothing else. " * 20},
    {"role": "user", "content": "cancel order 1042, it was charged twice and the customer is waiting"},
]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLoad:
    """How long each kind of load lasts, each round."""

    rounds: int
    load_s: float


QUICK, FULL = GatewayLoad(rounds=1, load_s=2.5), GatewayLoad(rounds=5, load_s=8.0)


@dataclass(slots=True)
class Way:
    """One way to the replica; `pid` is of the process in between."""

    url: str
    model: str
    pid: int | None = None
    answers: int = 0

    def cpu_s(self) -> float:
        """Processor seconds of the process in between, all its threads. Linux only."""
        if self.pid is None:
            return 0.0
        spent = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(spent[11]) + int(spent[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Found:
    """What one way took, over all rounds."""

    paced_ms: list[float] = field(default_factory=list)
    first_token_ms: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    cpu_ms_per_request: list[float] = field(default_factory=list)
    cpu_us_per_token: list[float] = field(default_factory=list)


async def ask(session: aiohttp.ClientSession, way: Way, *, stream: bool) -> float:
    """Milliseconds to the whole answer, or to the first token of a streamed one that came whole."""
    begun_s, first_s, got = time.perf_counter(), 0.0, b""
    body = {"model": way.model, "messages": MESSAGES, "temperature": 0.7, "stream": stream}
    async with session.post(way.url + PATH, json=body) as answered:
        assert answered.status == 200, await answered.text()
        async for part in answered.content.iter_any():
            first_s = first_s or time.perf_counter()
            got += part
    assert got.count(b" word") == TOKENS, "an answer came short"
    way.answers += 1
    return ((first_s if stream else time.perf_counter()) - begun_s) * 1000


async def paced(session: aiohttp.ClientSession, way: Way, load_s: float) -> list[float]:
    """Milliseconds of requests that begin at fixed moments, whatever became of those before."""
    loop = asyncio.get_running_loop()
    begun_s, asked = loop.time(), []
    for number in range(int(load_s * PACED_PER_S)):
        await asyncio.sleep(begun_s + number / PACED_PER_S - loop.time())
        asked.append(asyncio.create_task(ask(session, way, stream=False)))
    return await asyncio.gather(*asked)


async def crowded(session: aiohttp.ClientSession, way: Way, load_s: float) -> int:
    """How many requests so many clients get answered that ask again at once."""
    until_s = time.perf_counter() + load_s

    async def client() -> int:
        done = 0
        while time.perf_counter() < until_s:
            await ask(session, way, stream=False)
            done += 1
        return done

    return sum(await asyncio.gather(*(client() for _ in range(CLIENTS))))


async def streamed(session: aiohttp.ClientSession, way: Way, load_s: float) -> list[float]:
    """Milliseconds to the first token, of streams that run beside each other."""
    until_s = time.perf_counter() + load_s

    async def client(number: int) -> list[float]:
        await asyncio.sleep(number / STREAMS)
        done = []
        while time.perf_counter() < until_s:
            done.append(await ask(session, way, stream=True))
        return done

    return [
        ms for some in await asyncio.gather(*(client(number) for number in range(STREAMS))) for ms in some
    ]


async def measure(ways: Mapping[str, Way], size: GatewayLoad) -> dict[str, Found]:
    """Every way under every load, round by round."""
    found = {name: Found() for name in ways}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for way in ways.values():
            await crowded(session, way, 1.0)  # connections, caches
        for _ in range(size.rounds):
            for name, way in ways.items():
                found[name].paced_ms += await paced(session, way, size.load_s)
                before_s, begun_s = way.cpu_s(), time.perf_counter()
                done = await crowded(session, way, size.load_s)
                found[name].per_s.append(done / (time.perf_counter() - begun_s))
                found[name].cpu_ms_per_request.append((way.cpu_s() - before_s) * 1e3 / done)
                before_s = way.cpu_s()
                first_ms = await streamed(session, way, size.load_s)
                found[name].first_token_ms += first_ms
                found[name].cpu_us_per_token.append((way.cpu_s() - before_s) * 1e6 / (len(first_ms) * TOKENS))
    return found


def figures(found: Mapping[str, Found]) -> dict[str, Any]:
    """The figures of each way, and what the gateway adds to none."""
    at = {
        name: {
            "ms_p50": _percentile(one.paced_ms, 50),
            "ms_p99": _percentile(one.paced_ms, 99),
            "first_token_ms_p50": _percentile(one.first_token_ms, 50),
            "first_token_ms_p99": _percentile(one.first_token_ms, 99),
            "requests_per_s": round(statistics.median(one.per_s), 1),
            "cpu_ms_per_request": round(statistics.median(one.cpu_ms_per_request), 3),
            "cpu_us_per_token": round(statistics.median(one.cpu_us_per_token), 1),
        }
        for name, one in found.items()
    }

    def added(figure: str) -> float:
        return round(at["captured"][figure] - at["direct"][figure], 2)

    return {
        "added_ms_p50": added("ms_p50"),
        "added_ms_p99": added("ms_p99"),
        "first_token_added_ms_p50": added("first_token_ms_p50"),
        "requests_per_s": at["captured"]["requests_per_s"],
        "cpu_ms_per_request": at["captured"]["cpu_ms_per_request"],
        "cpu_us_per_token": at["captured"]["cpu_us_per_token"],
        "ways": at,
    }


def kept(cluster: Kafka) -> int:
    """Interactions on the topic."""
    place = TopicPartition(Topics().interactions, 0)
    consumer = cluster.consumer(group_id=None)
    try:
        return int(consumer.end_offsets([place])[place])
    finally:
        consumer.close()


def run(folder: Path, size: GatewayLoad) -> dict[str, Any]:
    """Broker, replica, proxy and gateway, all measurements, and an end to them."""
    with ExitStack() as running:
        broker = LocalBroker(folder / "kafka", free_port())
        broker.start()
        running.callback(broker.kill)
        cluster = Kafka(bootstrap_servers=broker.bootstrap, options={})
        create(cluster, Topics(), partitions=1, replication=1)
        replica = running.enter_context(_process("-m", "bench.replica", "replica"))
        url = f"http://127.0.0.1:{_port_of(replica)}"
        proxy = running.enter_context(_process("-m", "bench.replica", "proxy", url))
        port = free_port()
        config = folder / "clorad.toml"
        config.write_text(
            f'[kafka]\nbootstrap_servers = "{broker.bootstrap}"\n[ledger]\nurl = "{_ledger(folder, url)}"\n'
            f'[fleet]\nreplicas = ["{url}"]\n[gateway]\nport = {port}\n'
        )
        gateway = running.enter_context(
            _process("-m", "daemon", "--config", str(config), "gateway", log=folder / "gateway.log")
        )
        asyncio.run(_ready(f"http://127.0.0.1:{port}/readyz"))
        own = f"http://127.0.0.1:{port}"
        ways = {
            "direct": Way(url, PLAIN),
            "proxy": Way(f"http://127.0.0.1:{_port_of(proxy)}", PLAIN, proxy.pid),
            "gateway": Way(own, PLAIN, gateway.pid),
            "captured": Way(own, CAPTURED, gateway.pid),
        }
        found = asyncio.run(measure(ways, size))
        gateway.terminate()
        gateway.wait()
        return {
            **figures(found),
            "kept_share": round(kept(cluster) / ways["captured"].answers, 4),
            "answers": sum(way.answers for way in ways.values()),
        }


def _ledger(folder: Path, replica: str) -> str:
    """A ledger in which the replica is in rotation and both agents serve the base."""
    url = f"sqlite:///{folder / 'ledger.db'}"
    database = Database(url)
    database.migrate()
    ensure_identity(database)
    for name in (PLAIN, CAPTURED):
        agents.declare(database, agents.Agent(name=name, base_hash="0" * 64, capture=name == CAPTURED))
    routing.record_replicas(
        database, [routing.ReplicaState(url=replica, in_rotation=True, base_name="base", models=())]
    )
    database.close()
    return url


@contextmanager
def _process(*words: str, log: Path | None = None) -> Iterator["subprocess.Popen[bytes]"]:
    with ExitStack() as opened:
        errors = opened.enter_context(log.open("wb")) if log else None
        started = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=errors)
        try:
            yield started
        finally:
            started.kill()
            started.wait()
            assert started.stdout is not None
            started.stdout.close()


def _port_of(process: "subprocess.Popen[bytes]") -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


async def _ready(url: str) -> None:
    until_s = time.monotonic() + READY_S_MAX
    async with aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as said:
                    if said.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            if time.monotonic() > until_s:
                raise TimeoutError("the gateway did not become ready")
            await asyncio.sleep(0.1)


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 2)


def main() -> None:
    """`python -m bench.gateway [--quick] --json`; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="accepted for symmetry; it always prints JSON")
    parser.add_argument("--quick", action="store_true", help="one short round: under a minute")
    size = QUICK if parser.parse_args().quick else FULL
    with tempfile.TemporaryDirectory(prefix="clorad-gateway-") as folder:
        found = run(Path(folder), size)
    about = {"rounds": size.rounds, "commit": commit(), "cores": os.cpu_count(), "load": os.getloadavg()[0]}
    print(json.dumps({**found, **about}))


if __name__ == "__main__":
    main()
