"""Measures how fast the dashboard's pages are, and what they cost the ledger, with many agents and events.

`python -m bench.dashboard --json`; `--quick` takes less than a minute. The first answer of a page may come
before the ledger was read (`cold_ms`) and fills itself then (`whole_ms`). The others come while reports are
cached, as they are for whoever follows a page. `first_page_ms` is of a role that has just started. The first
paint is Chromium's where it is installed, with Playwright: else the time until the page has arrived.
"""

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import structlog
from sqlalchemy import Engine, event

from bench.commit import commit
from bench.dashboard_ledger import fill
from bench.percentile import percentile
from daemon.dashboard import role
from daemon.process.health import Health
from daemon.setting_groups.dashboard import DashboardSettings
from daemon.settings import LedgerSettings, Settings
from deploy.kafka.broker import free_port

CHROMIUM = shutil.which("chromium") if find_spec("playwright") else None
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


@dataclass(slots=True)
class LedgerUse:
    """Queries of the ledger since the last `take`, and their seconds."""

    queries: int = 0
    seconds: float = 0.0
    _begun: dict[int, float] = field(default_factory=dict)

    def begin(self, connection: Any, *_: Any) -> None:
        self._begun[id(connection)] = time.perf_counter()

    def end(self, connection: Any, *_: Any) -> None:
        self.queries += 1
        self.seconds += time.perf_counter() - self._begun.pop(id(connection), time.perf_counter())

    def take(self) -> dict[str, float]:
        """What was used, and begin anew."""
        used = {"queries": self.queries, "ledger_ms": round(1000 * self.seconds, 1)}
        self.queries, self.seconds = 0, 0.0
        return used


def measure(*, agents: int, events: int, repeats: int) -> dict[str, Any]:
    """Every page, cold and warm."""
    use = LedgerUse()
    event.listen(Engine, "before_cursor_execute", use.begin)
    event.listen(Engine, "after_cursor_execute", use.end)
    with tempfile.TemporaryDirectory() as folder:
        began_s = time.perf_counter()
        url = fill(Path(folder, "clorad.db"), agents=agents, events=events)
        filled_s = time.perf_counter() - began_s
        use.take()
        with _served(url) as address, httpx.Client(timeout=120) as client:
            first_ms, first_whole_ms = _first_ms(client, f"{address}/agents")
            start = use.take()
            pages = {name: _page(address + path, use, repeats) for name, path in _paths().items()}
            paints = list(_paints(f"{address}/agents", repeats))
    return {
        "commit": commit(),
        "agents": agents,
        "events": events,
        "fill_s": round(filled_s, 1),
        "first_paint_ms": {"p50": percentile(paints, 50), "p95": percentile(paints, 95)},
        "browser": bool(CHROMIUM),
        "first_page_ms": {"answer": first_ms, "whole": first_whole_ms, **start},
        "pages": pages,
    }


def _paths() -> dict[str, str]:
    return {
        "agents": "/agents",
        "agents_sorted": "/agents?sort=-accuracy&page=2",
        "busiest_agent": "/agents/agent-0000",
        "quiet_agent": "/agents/agent-0099",
        "version": "/versions/agent-0000@v5",
        "event": "/event?uid=bench%23e8",
        "events": "/events?agent=agent-0000&kind=correction",
        "review": "/review",
        "rollouts": "/rollouts",
        "learner": "/learner",
    }


def _page(address: str, use: LedgerUse, repeats: int) -> dict[str, Any]:
    """The first answer with its queries, and the warm ones."""
    with httpx.Client(timeout=120) as client:
        use.take()
        cold_ms, whole_ms = _first_ms(client, address)
        cost = use.take()
        warm = [_get_ms(client, address) for _ in range(repeats)]
    return {
        "cold_ms": cold_ms,
        "whole_ms": whole_ms,
        **cost,
        "warm_ms": {"p50": percentile(warm, 50), "p95": percentile(warm, 95)},
        "kib": round(len(httpx.get(address, timeout=120).content) / 1024),
    }


def _first_ms(client: httpx.Client, address: str) -> tuple[float, float]:
    """Milliseconds to the first answer, and until one is whole."""
    began_s = time.perf_counter()
    first_ms = _get_ms(client, address)
    while "data-reading" in client.get(address).text:
        time.sleep(0.05)
    return first_ms, round(1000 * (time.perf_counter() - began_s), 1)


def _get_ms(client: httpx.Client, address: str) -> float:
    began_s = time.perf_counter()
    client.get(address).raise_for_status()
    return round(1000 * (time.perf_counter() - began_s), 1)


def _paints(address: str, repeats: int) -> Iterator[float]:
    """Milliseconds from the request to the first paint: reports are cached, nothing is in the browser."""
    if not CHROMIUM:
        with httpx.Client(timeout=120) as client:
            yield from (_get_ms(client, address) for _ in range(repeats))
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        for _ in range(repeats):
            page = browser.new_page()
            page.goto(address)
            while not (painted_ms := page.evaluate(_PAINT)):  # the page's policy allows no waiting in it
                page.wait_for_timeout(20)
            yield round(painted_ms, 1)
            page.close()
        browser.close()


@contextmanager
def _served(url: str) -> Iterator[str]:
    """The dashboard role in a thread. Yields its address."""
    port, stopping, health = free_port(), threading.Event(), Health()
    settings = Settings(ledger=LedgerSettings(url=url), dashboard=DashboardSettings(port=port))
    running = threading.Thread(target=role.run, args=(settings, stopping, health))
    running.start()
    try:
        while not health.readiness()[0] and running.is_alive():
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        stopping.set()
        running.join()


def main() -> None:
    """Print the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="100 agents, 20,000 events")
    parser.add_argument("--agents", type=int)
    parser.add_argument("--events", type=int)
    options = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    small = (100, 20_000, 10) if options.quick else (1000, 400_000, 40)
    result = measure(agents=options.agents or small[0], events=options.events or small[1], repeats=small[2])
    if options.json:
        print(json.dumps(result, indent=2))
        return
    paint = result["first_paint_ms"]
    print(f"first paint {paint['p50']} ms (p95 {paint['p95']} ms), {options.agents or small[0]} agents")
    for name, page in result["pages"].items():
        cold, warm = f"cold {page['cold_ms']} ms, {page['queries']} queries", page["warm_ms"]["p50"]
        print(f"{name:14} {cold}; warm {warm} ms")


if __name__ == "__main__":
    main()
