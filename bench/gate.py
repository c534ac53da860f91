"""Measures the gate: how often it promotes candidates that are bad, and holds back candidates that are good.

Some adapters are trained, and many candidates are derived from them (`bench.gate_candidates`). Each candidate
answers the questions of a gate, which decides by clorad's own code, and an exam that shares no prompt with
them. The exam says what is good and what is bad; what lies between counts for neither. Adapters and judged
candidates are kept in a folder, and nothing in it is repeated.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from engine.threads import WAITS

os.environ.update(WAITS | os.environ)  # before torch

import torch

from bench.adapter_mixes import write_mix
from bench.commit import commit
from bench.finished_runs import append_run, read_runs
from bench.gate_candidates import candidates_of, few_of
from bench.gate_subjects import Exam, GateSubject, ProseSubject, RuleSubject
from bench.learning import WORLD
from bench.share_bound import bound_95, lower_bound_95
from examples.house_rules.rehearsed_gate import rule_on_answers
from examples.house_rules.world_file import read_world
from examples.real_base.make import ROOT
from ledger.versions.decisions import Verdict

FOLDER = ROOT / ".cache" / "gate"
QUESTIONS, QUICK_QUESTIONS = 64, 32  # of each kind in an exam on the example base

FOLLOWED_MIN, FALL_MAX = 0.9, 0.05
"""Good: follows the new rules so often, and no kind of prompt is answered as wanted so much less often."""

GAIN_MIN, FALL_MIN = 0.1, 0.2
"""Bad: follows the new rules hardly more often than the champion, or loses so much on one kind of prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectPlan:
    """One agent whose candidates are judged."""

    name: str
    make: Callable[..., GateSubject]
    agent: str
    wave: int = 1
    layers: Sequence[int] = ()  # of which single modules are left out
    few: bool = False


def _rule_subject(plan: SubjectPlan, folder: Path, questions: int) -> GateSubject:
    return RuleSubject(read_world(WORLD), plan.agent, wave=plan.wave, folder=folder, questions=questions)


def _prose_subject(plan: SubjectPlan, folder: Path, _questions: int) -> GateSubject:
    return ProseSubject(plan.agent, folder=folder)


_ALL_LAYERS = (0, 1, 2)
PLANS = (
    SubjectPlan(name="support, prose", make=_prose_subject, agent="support", layers=(15,), few=True),
    SubjectPlan(name="writer, prose", make=_prose_subject, agent="writer", layers=(15,), few=True),
    SubjectPlan(name="support", make=_rule_subject, agent="support", wave=2, layers=_ALL_LAYERS),
    SubjectPlan(name="coder", make=_rule_subject, agent="coder", wave=2, layers=_ALL_LAYERS),
)
QUICK = (SubjectPlan(name="coder, quick", make=_rule_subject, agent="coder", few=True),)


def judge_all(plan: SubjectPlan, folder: Path, questions: int) -> list[dict[str, Any]]:
    """Every candidate of one agent, judged by the gate and by the exam."""
    torch.set_num_threads(1)
    own = folder / plan.name.replace(", ", "-")
    own.mkdir(parents=True, exist_ok=True)
    subject = plan.make(plan, own, questions)
    before, exam_before = subject.completions(), subject.exam()
    candidates = candidates_of(subject.adapters, layers=plan.layers)
    for candidate in few_of(candidates) if plan.few else candidates:
        finished = read_runs(own / "candidates.jsonl")
        if any((run["family"], run["name"]) == (candidate.family, candidate.name) for run in finished):
            continue
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory() as mixed:
            write_mix([(subject.adapters[part.adapter], part) for part in candidate.mix], Path(mixed))
            subject.use(Path(mixed))
        ruling = rule_on_answers(
            subject.asked, before, subject.completions(), champion_samples=subject.champion_samples
        )
        judgement = ruling.judgement
        run = {
            "agent": plan.name,
            "family": candidate.family,
            "name": candidate.name,
            "exam_before": exam_before,
            "exam": subject.exam(),
            "verdict": ruling.verdict.value,
            "reasons": ruling.reasons,
            "gate": [judgement.wins, judgement.losses, len(subject.asked.gate)],
            "suite": [judgement.suite_wins, judgement.suite_losses, judgement.suite],
            "seconds": round(time.monotonic() - began_s, 1),
            "commit": commit(),
        }
        append_run(own / "candidates.jsonl", run)
        print(json.dumps(run), flush=True)
    return read_runs(own / "candidates.jsonl")


def is_good(before: Exam, after: Exam) -> bool:
    """Whether the exam calls the candidate good."""
    return after["new"] >= FOLLOWED_MIN and _worst_fall(before, after) <= FALL_MAX


def is_bad(before: Exam, after: Exam) -> bool:
    """Whether the exam calls the candidate bad."""
    return round(after["new"] - before["new"], 4) <= GAIN_MIN or _worst_fall(before, after) >= FALL_MIN


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The counts over all candidates, and by family."""

    def by_agent_and_family(run: Mapping[str, Any]) -> tuple[str, str]:
        return run["agent"], run["family"]

    families = [
        {"agent": agent, "family": family, **_counts(list(group))}
        for (agent, family), group in groupby(sorted(runs, key=by_agent_and_family), key=by_agent_and_family)
    ]
    return {
        **_counts(runs),
        "families": families,
        "gate_prompts_min": min(run["gate"][2] for run in runs),
        "suite_prompts_min": min(run["suite"][2] for run in runs),
        "good_held_back": [_named(run) for run in runs if _good(run) and not _promoted(run)],
        "bad_let_through": [_named(run) for run in runs if _bad(run) and _promoted(run)],
    }


def main() -> None:
    """`python -m bench.gate [--quick] --json`; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="no effect: it always prints JSON")
    parser.add_argument("--quick", action="store_true", help="one agent of the example base, its first wave")
    parser.add_argument("--agents", default="", help="names with semicolons between; all unless given")
    parser.add_argument("--processes", type=int, default=2, help="agents at once, one thread each")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of adapters and judged candidates")
    arguments = parser.parse_args()
    began_s = time.monotonic()
    plans: Sequence[SubjectPlan] = QUICK if arguments.quick else PLANS
    questions = QUICK_QUESTIONS if arguments.quick else QUESTIONS
    if arguments.agents:
        plans = [plan for plan in plans if plan.name in arguments.agents.split(";")]
    with ProcessPoolExecutor(arguments.processes, get_context("spawn")) as pool:
        futures = [pool.submit(judge_all, plan, arguments.folder, questions) for plan in plans]
        runs = [run for future in futures for run in future.result()]
    about = {"seconds": round(time.monotonic() - began_s), "commit": commit(), "cores": os.cpu_count()}
    print(json.dumps({**summarise(runs), **about}))


def _counts(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    good = [run for run in runs if _good(run)]
    bad = [run for run in runs if _bad(run)]
    good_promoted, bad_promoted = (sum(map(_promoted, group)) for group in (good, bad))
    return {
        "candidates": len(runs),
        "bad": len(bad),
        "bad_promoted": bad_promoted,
        "bad_promoted_share_at_most": round(bound_95(bad_promoted, len(bad)), 4),
        "good": len(good),
        "good_promoted": good_promoted,
        "good_promoted_share": round(good_promoted / len(good), 4) if good else None,
        "good_promoted_share_at_least": round(lower_bound_95(good_promoted, len(good)), 4),
        "between": len(runs) - len(good) - len(bad),
        "between_promoted": sum(map(_promoted, runs)) - good_promoted - bad_promoted,
    }


def _good(run: Mapping[str, Any]) -> bool:
    return is_good(run["exam_before"], run["exam"])


def _bad(run: Mapping[str, Any]) -> bool:
    return is_bad(run["exam_before"], run["exam"])


def _promoted(run: Mapping[str, Any]) -> bool:
    return bool(run["verdict"] == Verdict.PROMOTE.value)


def _named(run: Mapping[str, Any]) -> dict[str, Any]:
    return {name: run[name] for name in ("agent", "family", "name", "reasons", "exam")}


def _worst_fall(before: Exam, after: Exam) -> float:
    return round(max(before[kind] - after[kind] for kind in before if kind != "new"), 4)


if __name__ == "__main__":
    main()
