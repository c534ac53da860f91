"""Compares the gateway, asking for keys and counting their limits, with the gateway of another work tree.

Both stand between the same load and the same replica, in turns, so that what else the machine does meets
both. The other one is started from its own files, and with its own virtual environment where it has one.
"""

import asyncio
import statistics
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bench.gateway import (
    MESSAGES,
    GatewayLoad,
    GatewayRoute,
    RouteSamples,
    long_request,
    measure_paced,
    measure_throughput,
)
from bench.gateway_processes import CAPTURED, PLAIN, make_ledger, port_of, ready, start_python
from bench.percentile import percentile
from deploy.kafka.broker import LocalBroker, free_port
from feedback.connection import Kafka
from feedback.topics import Topics, create
from ledger.access.keys import create_key
from ledger.access.rights import Grant
from ledger.database import Database

TURNS = 4
"""Of both gateways within a round: short ones, since the machine's speed changes within seconds."""

REGIMES: Mapping[str, Mapping[str, Any]] = {"short": {"messages": MESSAGES}, "tools": long_request()}
"""What is asked: a prompt of 100 tokens; one of 2,000 tokens with five tools."""

Route = tuple[str, str]
"""A gateway and an agent."""

_MAKE_LEDGER = """
import sys
from pathlib import Path
try:
    from bench.gateway_processes import make_ledger
except ImportError:
    from bench.gateway import _ledger as make_ledger
print(make_ledger(Path(sys.argv[1]), sys.argv[2]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedGateway:
    """How one of the two is started."""

    name: str
    folder: Path
    ledger: str
    python: str
    cwd: Path
    access: str  # a line of `[gateway]`


def compare(folder: Path, size: GatewayLoad, checkout: Path) -> dict[str, Any]:
    """Milliseconds and processor time of both gateways, and their ratios, by regime and agent."""
    with ExitStack() as running:
        broker = LocalBroker(folder / "kafka", free_port())
        broker.start()
        running.callback(broker.kill)
        create(Kafka(bootstrap_servers=broker.bootstrap, options={}), Topics(), partitions=1, replication=1)
        answering = running.enter_context(start_python("-m", "bench.replica", "replica"))
        replica = f"http://127.0.0.1:{port_of(answering)}"
        common = f'[kafka]\nbootstrap_servers = "{broker.bootstrap}"\n[fleet]\nreplicas = ["{replica}"]\n'
        ours, theirs = _ours(folder / "keys", replica), _theirs(folder / "before", replica, checkout)
        keys = {ours.name: _make_key(ours.ledger)}  # the other one would refuse a key that it does not know
        started: dict[str, tuple[str, int]] = {}
        for gateway in (theirs, ours):
            port, config = free_port(), gateway.folder / "clorad.toml"
            own = f'[ledger]\nurl = "{gateway.ledger}"\n[gateway]\nport = {port}\n{gateway.access}\n'
            config.write_text(common + own)
            words = ("-m", "daemon", "--config", str(config), "gateway")
            log = gateway.folder / "gateway.log"
            process = running.enter_context(
                start_python(*words, log=log, python=gateway.python, cwd=gateway.cwd)
            )
            asyncio.run(ready(f"http://127.0.0.1:{port}/readyz"))
            started[gateway.name] = (f"http://127.0.0.1:{port}", process.pid)
        measured = {}
        for regime, asked in REGIMES.items():
            routes = {
                (name, agent): GatewayRoute(url, agent, pid, api_key=keys.get(name), asked=asked)
                for name, (url, pid) in started.items()
                for agent in (PLAIN, CAPTURED)
            }
            measured[regime] = regime_figures(asyncio.run(_in_turns(routes, size)))
    return {"against": str(checkout), "regimes": measured}


def _ours(folder: Path, replica: str) -> ComparedGateway:
    folder.mkdir()
    return ComparedGateway(
        name="keys",
        folder=folder,
        ledger=make_ledger(folder, replica),
        python=sys.executable,
        cwd=Path.cwd(),
        access='access = "keys"',
    )


def _theirs(folder: Path, replica: str, checkout: Path) -> ComparedGateway:
    """The other work tree's gateway; its own code makes its ledger, whose schema may be another."""
    folder.mkdir()
    own = checkout / ".venv" / "bin" / "python"
    python = str(own) if own.exists() else sys.executable
    words = [python, "-c", _MAKE_LEDGER, str(folder), replica]
    process = subprocess.run(words, cwd=checkout, check=True, capture_output=True, text=True)
    return ComparedGateway(
        name="before", folder=folder, ledger=process.stdout.strip(), python=python, cwd=checkout, access=""
    )


def _make_key(ledger: str) -> str:
    database = Database(ledger)
    grant = Grant(
        name="bench",
        agents=frozenset({PLAIN, CAPTURED}),
        concurrency_max=1000,
        requests_per_minute_max=10_000_000,
    )
    _, text = create_key(database, grant, by="bench")
    database.close()
    return text.text


async def _in_turns(routes: Mapping[Route, GatewayRoute], size: GatewayLoad) -> dict[Route, RouteSamples]:
    """All under both loads, turn by turn, each turn in the other order."""
    samples = {name: RouteSamples() for name in routes}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for route in routes.values():
            await measure_throughput(session, route, 1.0)
        for turn in range(size.rounds * TURNS):
            for name in sorted(routes, reverse=bool(turn % 2)):
                route, load_s = routes[name], size.load_s / TURNS
                samples[name].paced_ms += await measure_paced(session, route, load_s)
                before_s = route.cpu_s()
                done = await measure_throughput(session, route, load_s)
                samples[name].cpu_ms_per_request.append((route.cpu_s() - before_s) * 1e3 / done)
    return samples


def regime_figures(samples: Mapping[Route, RouteSamples]) -> dict[str, Any]:
    """Of each agent both gateways and their ratios; and what capturing costs in each gateway."""
    p50_ms = {route: percentile(of_route.paced_ms, 50) for route, of_route in samples.items()}
    cpu_ms = {route: statistics.median(of_route.cpu_ms_per_request) for route, of_route in samples.items()}
    names = ("before", "keys")
    return {
        "agents": {
            agent: {
                "ms_p50": {name: round(p50_ms[name, agent], 2) for name in names},
                "cpu_ms_per_request": {name: round(cpu_ms[name, agent], 3) for name in names},
                "p50_ratio": round(p50_ms["keys", agent] / p50_ms["before", agent], 3),
                "cpu_ratio": round(cpu_ms["keys", agent] / cpu_ms["before", agent], 3),
            }
            for agent in (PLAIN, CAPTURED)
        },
        "capture_cpu_ratio": {name: round(cpu_ms[name, CAPTURED] / cpu_ms[name, PLAIN], 3) for name in names},
    }
