"""Measures what each part of the training method is worth: rules learned, kept and leaked, and verdicts.

Agents of the example world learn their house rules, wave after wave, from simulated people, with one part of
the method left out at a time. Beside them stand plain fine-tuning, and corrections whose texts belong to
other prompts: the gate must not promote those. All of it runs on the example base, without Kafka and vLLM, on
prompts with held-out slot values. The next wave builds on a candidate even where the gate refuses it, so that
the method and the gate's verdict are measured separately.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from engine.threads import WAITS

os.environ.update(WAITS | os.environ)  # before torch

import torch

from bench import conversations, real_base
from bench.commit import commit
from bench.prose_feedback import CORRECTED_SHARE
from engine.recipe import Recipe, recipe_from
from engine.warm_engine import WarmEngine
from examples.base_model.slots import SlotValues, read_words
from examples.house_rules.evaluation import build_evaluation, evaluate
from examples.house_rules.local_agent import LocalAgent
from examples.house_rules.recipe import RECIPE
from examples.house_rules.rehearsal import BASE
from examples.house_rules.simulated_feedback import Method, SimulatedFeedback
from examples.house_rules.world import World
from examples.house_rules.world_file import read_world
from ledger.versions.decisions import Verdict

WORLD = Path(__file__).resolve().parents[1] / "examples" / "house_rules" / "worlds" / "shop.toml"
QUESTIONS = 100  # of each kind in an evaluation
CONTROL = "shuffled"


def _with(**changes: float | bool | Mapping[str, float]) -> Method:
    return Method(recipe=recipe_from({**RECIPE, **changes}))


PLAIN = Method(anchors_max=0, replay_max=0, spans=False)
METHODS: Mapping[str, Method] = {
    "clorad": Method(),
    "without approvals": Method(corrected_share=CORRECTED_SHARE),
    "default recipe": Method(recipe=Recipe()),
    "no anchors": Method(anchors_max=0),
    "no replay": Method(replay_max=0),
    "no spans": Method(spans=False),
    "with preference": _with(coefficients={"preference": 0.5}),
    "preference alone": _with(coefficients={"supervised": 0.0, "preference": 1.0}),
    "plain": PLAIN,
    "plain, half the rate": replace(PLAIN, recipe=recipe_from({**RECIPE, "learning_rate": 0.875e-3})),
    "5% poisoned": Method(spoilt=0.05),
    "20% poisoned": Method(spoilt=0.2),
    CONTROL: Method(spoilt=1.0, authors_min=1),  # else none of them would be trained on
}
CORRECTIONS = (4, 8, 16, 50)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRun:
    """One agent, all its waves, one method, one seed."""

    # followed[after wave][rules of wave]: share of prompts answered as wanted
    followed: tuple[tuple[float, ...], ...]
    leaked: float  # share of near misses answered by a rule that does not hold there, at the end
    kept: float  # share of prompts free of rules answered as wanted, at the end
    kept_before: float
    verdicts: tuple[Verdict, ...]
    tokens: int

    @property
    def accuracy(self) -> float:
        """Mean over all rules at the end (ACC; Lopez-Paz & Ranzato, 2017)."""
        return statistics.fmean(self.followed[-1])

    @property
    def backward(self) -> float:
        """Change of earlier rules by later waves (BWT, same source): below 0 they were forgotten."""
        last = len(self.followed) - 1
        return statistics.fmean(self.followed[last][wave] - self.followed[wave][wave] for wave in range(last))


def run_course(
    world: World, agent: str, engine: WarmEngine, method: Method, *, seed: int, waves: int
) -> LearningRun:
    """Teach one agent its first `waves` waves by one method."""
    with tempfile.TemporaryDirectory() as folder:
        local_agent = LocalAgent(engine, BASE, Path(folder))
        feedback = SimulatedFeedback(world, agent, local_agent, seed=seed, method=method)
        evaluation = build_evaluation(world, agent, n=QUESTIONS, wave=waves)
        before = evaluate([evaluation], local_agent.answers)[agent]
        followed, verdicts, tokens = [], [], 0
        for wave in range(1, waves + 1):
            turn = feedback.teach(wave)
            assert turn is not None, "several people corrected alike"
            verdicts.append(turn.ruling.verdict)
            tokens += turn.learned.metrics.tokens
            followed.append(
                tuple(_followed(world, agent, local_agent, of, wave) for of in range(1, wave + 1))
            )
        after = evaluate([evaluation], local_agent.answers)[agent]
    return LearningRun(
        followed=tuple(followed),
        leaked=after.leaked,
        kept=after.kept,
        kept_before=before.kept,
        verdicts=tuple(verdicts),
        tokens=tokens,
    )


def _followed(world: World, agent: str, local_agent: LocalAgent, of_wave: int, announced_wave: int) -> float:
    """Share of held-out prompts about the rules of `of_wave` that are answered as wanted now."""
    source = SlotValues(random.Random(f"exam {agent} {of_wave}"), read_words(), held_out=True)
    rules, announced = world.of_wave(agent, of_wave), world.announced(agent, announced_wave)
    tasks = [world.fires(rule, source, announced) for rule in rules for _ in range(QUESTIONS // len(rules))]
    answers = local_agent.answers(tasks)
    return statistics.fmean(answer == task.wanted for task, answer in zip(tasks, answers, strict=True))


def figures(runs: Sequence[LearningRun]) -> dict[str, Any]:
    """Means over agents and seeds; the spread is the standard deviation over them."""
    verdicts = [verdict for run in runs for verdict in run.verdicts]
    several = len(runs[0].followed) > 1
    return {
        "accuracy": round(statistics.fmean(run.accuracy for run in runs), 4),
        "accuracy_spread": round(statistics.pstdev(run.accuracy for run in runs), 4),
        "backward": round(statistics.fmean(run.backward for run in runs), 4) if several else None,
        "leaked": round(statistics.fmean(run.leaked for run in runs), 4),
        "kept": round(statistics.fmean(run.kept for run in runs), 4),
        "kept_before": round(statistics.fmean(run.kept_before for run in runs), 4),
        "verdicts": {kind.value: verdicts.count(kind) for kind in sorted(set(verdicts))},
        "tokens": round(statistics.fmean(run.tokens for run in runs)),
        "courses": len(runs),
    }


def measure(
    methods: Mapping[str, Method], agents: Sequence[str], seeds: Sequence[int], *, waves: int
) -> dict[str, Any]:
    """The figures of each method over all agents and seeds. Runs one process of one thread on each core."""
    planned = [(name, agent, seed) for seed in seeds for agent in agents for name in methods]
    runs: dict[str, list[LearningRun]] = {name: [] for name in methods}
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        futures = [pool.submit(_run, methods[name], agent, seed, waves) for name, agent, seed in planned]
        for (name, agent, seed), future in zip(planned, futures, strict=True):
            run = future.result()
            runs[name].append(run)
            verdicts = [verdict.value for verdict in run.verdicts]
            print(
                f"{name}, {agent}, seed {seed}: {run.followed}, leaked {run.leaked}, {verdicts}", flush=True
            )
    return {name: figures(runs_of_method) for name, runs_of_method in runs.items()}


def _run(method: Method, agent: str, seed: int, waves: int) -> LearningRun:
    torch.set_num_threads(1)
    return run_course(read_world(WORLD), agent, _engine(), method, seed=seed, waves=waves)


def measure_conversations(seeds: Sequence[int]) -> dict[str, Any]:
    """The figures of the agent with tools over the seeds. One process of one thread on each core."""
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        runs = list(pool.map(_run_desk, seeds))
    return {"runs": runs, **conversations.summarise(runs)}


def _run_desk(seed: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    return conversations.run_desk(_engine(), BASE, seed=seed)


@cache
def _engine() -> WarmEngine:
    return WarmEngine.load(BASE, slots=1, rank=16, threads=1, token_budget=2048)


def main() -> None:
    """`python -m bench.learning [--base smollm2] [--quick] --json`; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", choices=("example", "smollm2"), default="example")
    parser.add_argument("--json", action="store_true", help="no effect: it always prints JSON")
    parser.add_argument(
        "--quick", action="store_true", help="one agent, its first wave, the method and its control"
    )
    parser.add_argument("--conversations", action="store_true", help="only the agent that has tools")
    parser.add_argument("--seeds", type=int, default=3)
    real_base.options(parser)
    arguments = parser.parse_args()
    if arguments.base == "smollm2":
        print(json.dumps(real_base.measure(arguments)))
    else:
        print(json.dumps(_example_report(arguments)))


def _example_report(arguments: argparse.Namespace) -> dict[str, Any]:
    began_s = time.monotonic()
    if arguments.conversations:
        report = {"conversations": measure_conversations(range(1, arguments.seeds + 1))}
        about = {"seconds": round(time.monotonic() - began_s), "commit": commit(), "cores": os.cpu_count()}
        return {**report, **about}
    if arguments.quick:
        methods = {name: METHODS[name] for name in ("clorad", CONTROL)}
        report = {"methods": measure(methods, ["coder"], [1], waves=1)}
    else:
        agents, seeds = ["support", "coder", "sql"], list(range(1, arguments.seeds + 1))
        by_count = {str(count): Method(corrections=count) for count in CORRECTIONS}
        report = {
            "methods": measure(METHODS, agents, seeds, waves=2),
            "corrections": measure(by_count, agents, seeds, waves=1),
            "conversations": measure_conversations(seeds),
        }
    promoted = report["methods"][CONTROL]["verdicts"].get(Verdict.PROMOTE.value, 0)
    about = {"seconds": round(time.monotonic() - began_s), "commit": commit(), "cores": os.cpu_count()}
    return {**report, "control_promoted": promoted, **about}


if __name__ == "__main__":
    main()
