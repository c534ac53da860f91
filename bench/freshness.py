"""Measures how fast corrections change answers: from Kafka's last acknowledgement to the first new answer.

Starts Kafka, vLLM and clorad. In each round one agent, whom nobody else asks meanwhile, is corrected by two
people until another version answers. Most anchors are answers that people left alone. A finished round is a
line of `.cache/freshness_runs.jsonl`, and is not repeated for that commit.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.commit import commit
from bench.courses import Course, ProseCourse, RuleCourse
from bench.finished_runs import append_run, read_runs
from bench.percentile import percentile
from examples.house_rules.delays import acknowledgements, delays
from examples.house_rules.ledger_view import LedgerView
from examples.house_rules.recipe import SETTLE_S, BaseOptions
from examples.house_rules.stack import BASE, ROOT, Stack, StackFailedError, StackOptions
from examples.real_base.demo import SMOLLM2
from ledger.reports.timeline import PARTS

COURSES: Mapping[str, tuple[type[RuleCourse] | type[ProseCourse], BaseOptions]] = {
    "tiny": (RuleCourse, BaseOptions(path=BASE, recipe={})),
    "smollm2": (ProseCourse, SMOLLM2),
}
ROUNDS = {"tiny": 12, "smollm2": 3}
QUICK_ROUNDS = 2
POLL_S = 0.1
ROUND_S_MAX = 3600.0
STORED_S_MAX = 2.0  # until the ledger has the capture of the first answer
RUNS = ROOT / ".cache" / "freshness_runs.jsonl"


class RoundFailed(RuntimeError):
    """No other version came to answer in time. The message says what the ledger knows."""


def measure(base: str, rounds: int, runs: Path) -> list[dict[str, Any]]:
    """Every round of this commit and base, those that were finished before included."""
    course, options = COURSES[base]
    asked = [(f"agent-{number // course.waves + 1}", number % course.waves + 1) for number in range(rounds)]
    setup = {"base": base, "commit": commit(), "cores": os.cpu_count()}
    finished = {(run["agent"], run["wave"]): run for run in read_runs(runs) if setup.items() <= run.items()}
    # An agent whose second round is missing is taught again from its first: its ledger is gone.
    missing = sorted({name for name, wave in asked if (name, wave) not in finished})
    if not missing:
        return [finished[place] for place in asked]
    with tempfile.TemporaryDirectory(prefix="clorad-freshness-") as folder:
        agents = dict.fromkeys(missing, course.scorer)
        stack = Stack(StackOptions(folder=Path(folder) / "stack", agents=agents, base=options))
        try:
            stack.launch()
            stack.start_role("run")
            stack.wait_ready()
            stack.wait_for_agents()
            for name in missing:
                journal = stack.folder / f"{name}.jsonl"
                with (
                    closing(course(stack, name, journal)) as taught,
                    closing(LedgerView(stack.ledger_url)) as ledger,
                ):
                    for wave in (wave for agent, wave in asked if agent == name):
                        run = {**setup, **_round(stack, ledger, taught, name, journal, wave)}
                        finished[name, wave] = run
                        append_run(runs, run)
        finally:
            stack.stop()
    return [finished[place] for place in asked]


def _round(
    stack: Stack, ledger: LedgerView, course: Course, name: str, journal: Path, wave: int
) -> dict[str, Any]:
    """Teach the agent one wave; what that took, part by part."""
    replaced = course.teach(wave)
    answered_s, version = _await_other_version(stack, course, name, replaced)
    time.sleep(STORED_S_MAX)
    acknowledged_s = acknowledgements(json.loads(line) for line in journal.read_text().splitlines())
    [delay] = [
        delay
        for delay in delays(ledger.timelines(), acknowledged_s, {(name, version): answered_s})
        if (delay.agent, delay.version) == (name, version)
    ]
    print(f"{name} wave {wave}: {delay.text}", file=sys.stderr, flush=True)
    return {**delay.to_json(), "wave": wave, "followed": course.followed(wave)}


def _await_other_version(stack: Stack, course: Course, name: str, replaced: str) -> tuple[float, str]:
    """When the first answer by another version came (Unix time), and which version it was."""
    until = time.monotonic() + ROUND_S_MAX
    while time.monotonic() < until:
        if faults := stack.faults():
            raise StackFailedError(faults[0])
        if stack.routed(name) not in ("", replaced) and (version := course.version()) != replaced:
            return time.time(), version
        time.sleep(POLL_S)
    raise RoundFailed(f"{replaced} still answers after {ROUND_S_MAX:.0f} s: {stack.clorad('status')}")


def summary(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Percentiles over the rounds, of all parts together and of each."""
    totals = [float(run["s"]) for run in rounds]
    return {
        "p50_s": percentile(totals, 50),
        "p95_s": percentile(totals, 95),
        "parts": {
            part: {
                f"p{percent}_s": percentile((float(run["parts_s"][part]) for run in rounds), percent)
                for percent in (50, 95)
            }
            for part in PARTS
        },
        "rounds": len(rounds),
        "followed_min": min(run["followed"] for run in rounds),
        "settle_s": SETTLE_S,
        "cores": os.cpu_count(),
        "commit": commit(),
    }


def main() -> None:
    """`python -m bench.freshness [--quick] [--base smollm2] [--rounds N] --json`."""
    parser = argparse.ArgumentParser(prog="python -m bench.freshness", description=__doc__)
    parser.add_argument(
        "--base", choices=tuple(COURSES), default="tiny", help="smollm2: after make real-base"
    )
    parser.add_argument("--rounds", type=int, help="on the tiny base an agent has two of them")
    parser.add_argument("--quick", action="store_true", help="two rounds, on smollm2 one")
    parser.add_argument("--runs", type=Path, default=RUNS, help="the file of finished rounds")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    quick = min(QUICK_ROUNDS, COURSES[given.base][0].waves)
    rounds = given.rounds or (quick if given.quick else ROUNDS[given.base])
    figures = {"base": given.base, **summary(measure(given.base, rounds, given.runs))}
    print(json.dumps(figures) if given.json else f"p50 {figures['p50_s']} s, p95 {figures['p95_s']} s")


if __name__ == "__main__":
    main()
