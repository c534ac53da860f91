"""Measures what a pretrained base learns in natural language: `python -m bench.learning --base smollm2`.

`make real-base` first. Nobody approves anything, people correct three in ten wrong answers, and everything is
as the defaults say. Corrections go through clorad's own labelling, choice of batch, engine and gate; the exam
asks held-out phrasings with held-out slot values. Each finished run is appended to a file, and a run that is
in the file is not repeated.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from bench.commit import commit
from bench.finished_runs import append_run, read_runs
from bench.prose_exam import exam
from bench.prose_feedback import FeedbackPlan, ProseFeedback, counted
from bench.prose_model import ProseModel
from engine.lesson import Learned
from engine.recipe import recipe_from
from engine.warm_engine import WarmEngine
from examples.house_rules.rehearsed_gate import rule_on_answers
from examples.real_base.make import REAL_BASE, ROOT
from examples.real_base.prose_world import ProseWorld, read_prose_world
from ledger.versions.decisions import Verdict
from rewards.episode import without_spans
from rewards.suite import SuiteQuestion
from serving.fleet.answers import SAMPLES
from serving.fleet.questions import Question
from serving.fleet.replica import Completion

RUNS = ROOT / ".cache" / "real_base_runs.jsonl"
ANSWER_TOKENS_MAX = 96  # of the gate's answers: the longest reply by a rule has some 70
CORRECTIONS = 16  # of role train, a rule
BESIDE = 80  # prompts about other things, a wave

EXAM = 4
"""Number of the form of feedback and exam: runs of an earlier form are not reused."""

FOLLOWED_MIN, OVER_BASE_MAX, KEPT_MIN = 0.9, 0.02, 0.97
"""A candidate is good by the exam if it follows and keeps so much, and fires on so few near misses more."""


def completions(model: ProseModel, asked: Sequence[SuiteQuestion]) -> list[Completion]:
    """The model's greedy answers, as a replica gives them."""
    replies = model.replies([question.messages for question in asked], tokens_max=ANSWER_TOKENS_MAX)
    return [
        Completion(text=reply.text, finish_reason="stop" if reply.ended else "length") for reply in replies
    ]


def samples(model: ProseModel, champion: Path | None, asked: Sequence[Question]) -> list[tuple[str, ...]]:
    """What the champion says to each question when it is sampled several times."""
    prompts = [question.messages for question in asked]
    return model.samples(champion, prompts, tokens_max=ANSWER_TOKENS_MAX, count=SAMPLES)


def run_agent(
    engine: WarmEngine, world: ProseWorld, given: Mapping[str, Any], *, folder: Path
) -> dict[str, Any]:
    """One agent taught so many waves; what each came to. The next wave builds on every candidate."""
    model = ProseModel(REAL_BASE, cache=ROOT / ".cache" / "real_base_replies.json")
    plan = FeedbackPlan(corrections=given["corrections"], beside=given["beside"], shuffled=given["shuffled"])
    agent = given["agent"]
    feedback = ProseFeedback(world=world, agent=agent, model=model, plan=plan, seed=given["seed"])
    parent: Path | None = None
    waves: list[dict[str, Any]] = []
    for wave in range(1, given["waves"] + 1):
        feedback.ask(wave)
        lesson = feedback.lesson(wave, parent=parent, recipe=recipe_from(given["recipe"]))
        if not given["spans"]:
            lesson = replace(lesson, episodes=tuple(map(without_spans, lesson.episodes)))
        print(f"{agent} wave {wave}: {counted(lesson)}", flush=True)
        asked = feedback.questions()
        before = completions(model, asked.all)
        started_s = time.monotonic()
        (learned,) = engine.learn([lesson])
        trained_s = round(time.monotonic() - started_s)
        if not isinstance(learned, Learned):
            waves.append({"not_learned": learned.reason, "trained_s": trained_s})
            break
        champion, parent = parent, folder / f"{agent}-{lesson.seed}-{time.time_ns()}"
        engine.save(learned, parent)
        model.use(parent)
        ruling = rule_on_answers(
            asked,
            before,
            completions(model, asked.all),
            champion_samples=partial(samples, model, champion),
        )
        waves.append(
            {
                **exam(world, model, agent, wave),
                "verdict": ruling.verdict.value,
                "reasons": ruling.reasons,
                "corrections_sent": feedback.sent,
                "episodes": counted(lesson),
                "metrics": learned.metrics.to_json(),
                "trained_s": trained_s,
            }
        )
        print(json.dumps(waves[-1]), flush=True)
    return {**given, "waves_done": waves, "commit": commit()}


def summarise(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures over all runs; those of the control say only how many of its candidates were promoted."""
    taught = [run["waves_done"] for run in runs if not run["shuffled"]]
    last = [waves[-1] for waves in taught if "followed" in waves[-1]]
    control = [wave for run in runs if run["shuffled"] for wave in run["waves_done"]]
    good = [wave for waves in taught for wave in waves if _is_good(wave)]
    changes = [
        waves[-1]["followed"][wave] - waves[int(wave) - 1]["followed"][wave]
        for waves in taught
        if "followed" in waves[-1]
        for wave in list(waves[-1]["followed"])[:-1]
    ]
    over_base = [wave["near_leaked"] - wave["near_leaked_by_base"] for wave in last]
    return {
        "runs": len(taught),
        "learned": len(last),
        "followed": _mean_of(statistics.fmean(wave["followed"].values()) for wave in last),
        "near_miss_over_base_pp": _points(over_base),
        "bwt_pp": _points(changes),
        "decision_kept": _mean_of(wave["decision_kept"] for wave in last if wave["decisions"]),
        "decisions": sum(wave["decisions"] for wave in last),
        "kind_kept": _mean_of(wave["kind_kept"] for wave in last),
        "kind_kept_by_samples": _mean_of(wave["kind_kept_by_samples"] for wave in last),
        "harmless": _mean_of(wave["harmless"] for wave in last),
        "likeness": _mean_of(wave["likeness"] for wave in last),
        "likeness_of_samples": _mean_of(wave["likeness_of_samples"] for wave in last),
        "kl_nats": _mean_of(wave["kl_nats"] for wave in last),
        "control_promoted": sum(_is_promoted(wave) for wave in control),
        "control_candidates": len(control),
        "good_promoted_share": _mean_of(_is_promoted(wave) for wave in good),
        "good_candidates": len(good),
        "corrections_sent": _mean_of(wave["corrections_sent"] for wave in last),
        "trained_s": _mean_of(wave["trained_s"] for wave in last),
        "commit": commit(),
    }


def find_run(finished: Sequence[Mapping[str, Any]], asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The newest finished run of what is asked. Runs that say nothing about spans had them."""
    return next((run for run in reversed(finished) if asked.items() <= {"spans": True, **run}.items()), None)


def options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only a pretrained base has."""
    group = parser.add_argument_group("only with --base smollm2")
    group.add_argument("--agents", default="support,coder,writer")
    group.add_argument("--waves", type=int, default=2)
    group.add_argument("--corrections", type=int, default=CORRECTIONS, help="of role train, a rule")
    group.add_argument("--recipe", default="{}", help="JSON; the defaults unless given")
    group.add_argument("--no-spans", action="store_true", help="changed words of a correction weigh no more")
    group.add_argument("--name", default="", help="tells runs of different code apart")
    group.add_argument("--threads", type=int, default=2)
    group.add_argument("--no-control", action="store_true", help="leave the shuffled control out")
    group.add_argument("--runs", type=Path, default=RUNS, help="file of finished runs")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """The report on a pretrained base, from runs that are in the file and runs that are added to it."""
    world = read_prose_world()
    agents, waves = ["support"] if arguments.quick else arguments.agents.split(","), arguments.waves
    seeds = range(1, 1 + (1 if arguments.quick else arguments.seeds))
    planned = [(seed, agent, False) for seed, agent in product(seeds, agents)]
    if not arguments.no_control:
        planned += [(1, agent, True) for agent in agents]
    engine, results = None, []
    for seed, agent, shuffled in planned:
        asked = {
            "agent": agent,
            "seed": seed,
            "waves": 1 if arguments.quick or shuffled else min(waves, world.waves(agent)),
            "corrections": arguments.corrections,
            "beside": BESIDE,
            "shuffled": shuffled,
            "exam": EXAM,
            "spans": not arguments.no_spans,
            "recipe": json.loads(arguments.recipe),
            "name": arguments.name,
        }
        finished = read_runs(arguments.runs)
        run = find_run(finished, asked)
        if run is None:
            engine = engine or WarmEngine.load(
                REAL_BASE, slots=1, rank=16, threads=arguments.threads, token_budget=1024
            )
            run = run_agent(engine, world, asked, folder=ROOT / ".cache" / "real_base_versions")
            append_run(arguments.runs, run)
        results.append(run)
    return summarise(results)


def _is_good(wave: Mapping[str, Any]) -> bool:
    return (
        "followed" in wave
        and statistics.fmean(wave["followed"].values()) >= FOLLOWED_MIN
        and wave["near_leaked"] - wave["near_leaked_by_base"] <= OVER_BASE_MAX
        and (not wave["decisions"] or wave["decision_kept"] >= KEPT_MIN)
    )


def _is_promoted(wave: Mapping[str, Any]) -> bool:
    return bool(wave.get("verdict") == Verdict.PROMOTE.value)


def _points(shares: Sequence[float]) -> float | None:
    return round(100 * statistics.fmean(shares), 2) if shares else None


def _mean(values: Iterable[float]) -> float:
    return round(statistics.fmean(values), 4)


def _mean_of(values: Iterable[float]) -> float | None:
    """None where nothing was measured."""
    numbers = list(values)
    return _mean(numbers) if numbers else None
