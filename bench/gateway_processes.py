"""Starts what `bench.gateway` measures: a ledger, processes, and a wait until they are ready."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aiohttp

from ledger.database import Database
from ledger.identity import ensure_identity
from ledger.learning import agents
from ledger.versions import routing

PLAIN, CAPTURED = "plain", "captured"
"""The agents; what the second one answers is captured."""

READY_S_MAX = 60.0


def make_ledger(folder: Path, *replicas: str) -> str:
    """A ledger in which the replicas are in rotation and both agents serve the base."""
    url = f"sqlite:///{folder / 'ledger.db'}"
    database = Database(url)
    database.migrate()
    ensure_identity(database)
    for name in (PLAIN, CAPTURED):
        agents.declare(database, agents.Agent(name=name, base_hash="0" * 64, capture=name == CAPTURED))
    routing.record_replicas(
        database,
        [
            routing.ReplicaState(url=replica, in_rotation=True, base_name="base", models=())
            for replica in replicas
        ],
    )
    database.close()
    return url


@contextmanager
def start_python(
    *words: str, log: Path | None = None, python: str = sys.executable, cwd: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process of Python that is killed at the end of the block."""
    with ExitStack() as opened:
        errors = opened.enter_context(log.open("wb")) if log else None
        started = subprocess.Popen([python, *words], stdout=subprocess.PIPE, stderr=errors, cwd=cwd)
        try:
            yield started
        finally:
            started.kill()
            started.wait()
            assert started.stdout is not None
            started.stdout.close()


def port_of(started: "subprocess.Popen[bytes]") -> int:
    """The port that `bench.replica` prints."""
    assert started.stdout is not None
    return int(started.stdout.readline())


async def ready(url: str) -> None:
    """Wait until it answers 200. Raises `TimeoutError`."""
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
