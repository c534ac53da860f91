"""Trains a thousand agents on eight slots: are shares fair, who waits how long, what does attaching cost?

The scheduler, the slots, the version store and every training pass are real. Time is virtual: a pass takes
its training tokens divided by a fixed capacity, and candidates are promoted at once, so waits and shares do
not depend on the machine. Attach times (files in the page cache), resident memory and whether states come
back bit for bit are measured for real. `python -m bench.agents --json`
"""

import argparse
import json
import os
import random
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.threads import WAITS

os.environ.update(WAITS | os.environ)  # before torch

import torch

from bench.commit import commit
from bench.crowd import episode
from bench.machine import resident_memory_mib
from bench.percentile import percentile
from bench.sharing import FRESHNESS, SLOTS, WINDOW_S, share
from bench.teaching import Teaching

AGENTS = 1000


def measure(directory: Path, *, virtual_s: float, overloaded_s: float) -> dict[str, Any]:
    """Train every agent once, then for `virtual_s` as feedback arrives, then for `overloaded_s` with more of
    it than the capacity allows (0: not at all). Both are virtual seconds."""
    started = time.perf_counter()
    teaching = Teaching(directory, slots=SLOTS)
    agents = [f"agent-{number:04d}" for number in range(AGENTS)]
    for first in range(0, AGENTS, SLOTS):
        batch = agents[first : first + SLOTS]
        teaching.teach({agent: [episode(agent, random.Random(agent))] for agent in batch})
    for agent in agents:
        teaching.recall(agent)
    before_mib = resident_memory_mib()
    teaching.slots.attach_ms.clear()
    usual = share(teaching.teach, agents, load=0.8, virtual_s=virtual_s, seed=2)
    attach_ms = sorted(teaching.slots.attach_ms)
    growth_mib = resident_memory_mib() - before_mib
    overloaded = (
        share(teaching.teach, agents, load=1.25, virtual_s=overloaded_s, seed=3) if overloaded_s else None
    )
    for agent in agents:
        teaching.recall(agent)
    return {
        "agents": AGENTS,
        "slots": SLOTS,
        "attach_ms_p50": round(percentile(attach_ms, 50), 3),
        "attach_ms_p99": round(percentile(attach_ms, 99), 3),
        "jain_fair_share": usual.jain_fair_share,
        "oldest_wait_s_max": usual.oldest_wait_s_max,
        "age_max_s": FRESHNESS.age_s_max,
        "rss_growth_mib": round(growth_mib, 1),
        "rss_mib": round(resident_memory_mib(), 1),
        "state_bit_exact": teaching.slots.differing == 0,
        "returns_compared": teaching.slots.returns,
        "usual": asdict(usual),
        "overloaded": asdict(overloaded) if overloaded else None,
        "commit": commit(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "threads": torch.get_num_threads(),
        "took_s": round(time.perf_counter() - started, 1),
    }


def main() -> None:
    """`python -m bench.agents [--quick] [--json]`; the last line is one JSON object."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", action="store_true", help="print JSON alone")
    arguments.add_argument("--quick", action="store_true", help="two windows, no overload; in a minute")
    arguments.add_argument("--threads", type=int, default=1)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    windows, overloaded = (2, 0) if options.quick else (10, 5)
    if not options.json:
        print(f"{AGENTS} agents on {SLOTS} slots: trained once, then {windows} windows of {WINDOW_S:.0f} s")
    with tempfile.TemporaryDirectory() as directory:
        report = measure(Path(directory), virtual_s=windows * WINDOW_S, overloaded_s=overloaded * WINDOW_S)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
