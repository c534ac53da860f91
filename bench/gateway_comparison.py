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
    GatewayLoad,
    GatewayRoute,
    RouteSamples,
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
    """Milliseconds and processor time of both gateways, and their ratios, for each agent."""
    with ExitStack() as running:
        broker = LocalBroker(folder / "kafka", free_port())
        broker.start()
        running.callback(broker.kill)
        create(Kafka(bootstrap_servers=broker.bootstrap, options={}), Topics(), partitions=1, replication=1)
        answering = running.enter_context(start_python("-m", "bench.replica", "replica"))
        replica = f"http://127.0.0.1:{port_of(answering)}"
        common = f'[kafka]\nbootstrap_servers = "{broker.bootstrap}"\n[fleet]\nreplicas = ["{replica}"]\n'
        ours, theirs = _ours(folder / "keys", replica), _theirs(folder / "before", replica, checkout)
        api_key = _make_key(ours.ledger)  # sent to both: OpenAI's clients always send one
        routes: dict[str, dict[str, GatewayRoute]] = {PLAIN: {}, CAPTURED: {}}
        for gateway in (theirs, ours):
            port, config = free_port(), gateway.folder / "clorad.toml"
            own = f'[ledger]\nurl = "{gateway.ledger}"\n[gateway]\nport = {port}\n{gateway.access}\n'
            config.write_text(common + own)
            words = ("-m", "daemon", "--config", str(config), "gateway")
            log = gateway.folder / "gateway.log"
            started = running.enter_context(
                start_python(*words, log=log, python=gateway.python, cwd=gateway.cwd)
            )
            asyncio.run(ready(f"http://127.0.0.1:{port}/readyz"))
            for agent, of_agent in routes.items():
                url = f"http://127.0.0.1:{port}"
                of_agent[gateway.name] = GatewayRoute(url, agent, started.pid, api_key=api_key)
        measured = {agent: asyncio.run(_in_turns(of_agent, size)) for agent, of_agent in routes.items()}
    return {"against": str(checkout), "agents": {agent: _figures(of) for agent, of in measured.items()}}


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


async def _in_turns(routes: Mapping[str, GatewayRoute], size: GatewayLoad) -> dict[str, RouteSamples]:
    """Both under both loads, turn by turn, each turn in the other order."""
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


def _figures(samples_by_route: Mapping[str, RouteSamples]) -> dict[str, Any]:
    p50_ms = {name: round(percentile(samples.paced_ms, 50), 2) for name, samples in samples_by_route.items()}
    cpu_ms = {
        name: statistics.median(samples.cpu_ms_per_request) for name, samples in samples_by_route.items()
    }
    return {
        "ms_p50": p50_ms,
        "cpu_ms_per_request": {name: round(ms, 3) for name, ms in cpu_ms.items()},
        "p50_ratio": round(p50_ms["keys"] / p50_ms["before"], 3),
        "cpu_ratio": round(cpu_ms["keys"] / cpu_ms["before"], 3),
    }
