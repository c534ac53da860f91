"""A learner on a real ledger and a tiny model in a process of its own, for tests to kill and freeze.

Run as `python -m tests.learner_process …`; `LearnerProcess` is the test's end of it.
"""

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from tests.child_process import ChildProcess, FailpointsAndStalls

SLOTS = 2
RANK = 4
RECIPE = {"rank": RANK, "alpha": 8.0, "steps": 4, "steps_min": 4, "warmup_steps": 1, "new_per_step": 4}
LEASE_S = 2.0


class LearnerProcess(ChildProcess):
    """One learner."""

    def __init__(self, ledger: str, base: Path, store: Path, log: Path, **options: Any) -> None:
        given = {"ledger": ledger, "base": str(base), "store": str(store)} | options
        super().__init__("tests.learner_process", given, log)


def main() -> int:
    from daemon.learning.learner import Learner, LearnerOptions
    from daemon.learning.loop import learn
    from daemon.learning.scheduler import Freshness
    from daemon.learning.turns.material import TurnLimits
    from engine.warm_engine import WarmEngine
    from ledger.database import Database

    parser = argparse.ArgumentParser()
    parser.add_argument("given", type=json.loads)
    given = parser.parse_args().given
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    engine = WarmEngine.load(Path(given["base"]), slots=SLOTS, rank=RANK, threads=1, token_budget=512)
    print("READY engine", flush=True)
    options = LearnerOptions(
        freshness=Freshness(
            events_min=1, age_s_max=0.1, alpha=0.05, refusals_max=2, suite_min=0, settle_s=0.0, authors_min=1
        ),
        limits=TurnLimits(new_max=64, replay_max=0, anchors_max=0, settle_s=3600.0, authors_min=1),
        slots=SLOTS,
        gather_s=0.0,
        idle_s=0.1,
        lease_s=LEASE_S,
    )
    learner = Learner(
        database=Database(given["ledger"]),
        engine=engine,
        store=Path(given["store"]),
        holder=f"learner-{os.getpid()}",
        options=options,
        failpoint=FailpointsAndStalls(given.get("failpoint"), given.get("stalls", {})),
    )
    learn(learner, stopping)
    return 0


if __name__ == "__main__":
    sys.exit(main())
