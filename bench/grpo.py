"""Measures how fast an agent learns from outcomes alone: it samples groups of answers, a rule rewards them.

The example base solves its word problems in about four of ten samples, on purpose. Every step samples groups
of answers to fresh problems, sends each an outcome (1 or 0) through the credit table, and trains one turn of
the recipe `grpo` on them in the warm engine. Held-out problems show what was learned. As a control, rewards
are shuffled among all answers of a step: they must teach nothing. No Kafka, no vLLM.
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
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from engine.threads import WAITS

os.environ.update(WAITS | os.environ)  # before torch

import torch

from bench.commit import commit
from bench.grpo_agent import AGENT, SampledAgent, SampledAnswer, skills
from engine.lesson import Learned, Lesson
from engine.recipe import Recipe, recipe_from
from engine.warm_engine import WarmEngine
from examples.base_model.slots import SlotValues, read_words
from examples.house_rules.rehearsal import BASE
from ledger.events import Event, Interaction, KeptEvent, Kind, Role, Status
from rewards.baseline import NO_BASELINES, turn_baselines
from rewards.episode import Part
from rewards.exchange import History
from rewards.labelling import episodes_of_turn, settle_for_planning

SEEDS = (1, 2, 3)
STEPS = 10
GROUPS, SAMPLES = 16, 8  # of one step: problems, and answers to each
HELD_OUT = 200  # problems, one sampled answer each
TARGET = 0.9


def turn_of(
    answers: Sequence[SampledAnswer], rewards: Sequence[float], *, version: str
) -> tuple[list[KeptEvent], History]:
    """The outcome of each answer as the ledger stores it, and the captures that the outcomes name."""
    captures = {
        f"i{number}": Interaction(
            id=f"i{number}",
            agent=AGENT,
            version=version,
            conversation=None,
            turn=None,
            messages=(
                {"role": "system", "content": answer.problem.system},
                {"role": "user", "content": answer.problem.prompt},
            ),
            completion=answer.text,
            token_ids=answer.token_ids,
            logprobs=answer.logprobs,
            sampling={"temperature": 1.0},
            finish_reason="stop",
            role=Role.TRAIN,
        )
        for number, answer in enumerate(answers)
    }
    outcomes = [
        KeptEvent(
            seq=number,
            event=Event(
                source="bench",
                id=f"o{number}",
                digest="",
                kind=Kind.OUTCOME,
                agent=AGENT,
                author="rule",
                interaction=f"i{number}",
                role=Role.TRAIN,
                data={"value": reward, "scope": "final", "task": answer.problem.prompt},
            ),
            status=Status.OPEN,
            received_s=float(number),
        )
        for number, (answer, reward) in enumerate(zip(answers, rewards, strict=True))
    ]
    return outcomes, History(interactions=captures, conversations={})


def run(
    seed: int, recipe: Recipe, *, steps: int, groups: int, samples: int, shuffled: bool
) -> dict[str, Any]:
    """Train one agent from the base: the mean reward of each step's samples, before the step's training."""
    torch.set_num_threads(1)
    engine = WarmEngine.load(BASE, slots=1, rank=recipe.rank, threads=1, token_budget=2048)
    agent = SampledAgent(BASE)
    source = SlotValues(random.Random(f"grpo {seed}"), read_words(), held_out=False)
    chance = random.Random(f"rewards {seed}")
    rewards_by_step, rows = [], []
    before = held_out_reward(agent, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        parent: Path | None = None
        for step in range(steps):
            problems = [skills().ask(source, AGENT) for _ in range(groups)]
            answers = agent.answers(
                [problem for problem in problems for _ in range(samples)], seed=seed * 1000 + step
            )
            rewards = [answer.reward for answer in answers]
            rewards_by_step.append(round(statistics.fmean(rewards), 4))
            print(f"seed {seed}, step {step}: reward {rewards_by_step[-1]}", flush=True)
            if shuffled:
                chance.shuffle(rewards)
            learned = learn(engine, answers, rewards, recipe, parent=parent, seed=seed * 1000 + step)
            if learned is not None:
                parent = Path(folder) / f"v{step + 1}"
                engine.save(learned, parent)
                agent.serve(parent)
                rows.append({"step": step, **figures(learned)})
        after = held_out_reward(agent, seed=seed)
    return {
        "seed": seed,
        "shuffled": shuffled,
        "rewards": rewards_by_step,
        "held_out_before": before,
        "held_out_after": after,
        "turns": rows,
    }


def learn(
    engine: WarmEngine,
    answers: Sequence[SampledAnswer],
    rewards: Sequence[float],
    recipe: Recipe,
    *,
    parent: Path | None,
    seed: int,
) -> Learned | None:
    """One turn; None where no group had a spread."""
    outcomes, history = turn_of(answers, rewards, version="v0" if parent is None else parent.name)
    baselines = turn_baselines(outcomes, NO_BASELINES)
    settled = settle_for_planning(outcomes, history=history, baselines=baselines)
    members = [kept for kept in outcomes if kept.seq not in settled.barren]
    if not members:
        return None
    episodes = episodes_of_turn(members, part=Part.NEW, history=history, baselines=baselines)
    lesson = Lesson(agent=AGENT, parent=parent, recipe=recipe, seed=seed, episodes=episodes)
    [result] = engine.learn([lesson])
    assert isinstance(result, Learned), result
    return result


def held_out_reward(agent: SampledAgent, *, seed: int) -> float:
    """Mean reward of one sampled answer to each held-out problem."""
    source = SlotValues(random.Random("held out"), read_words(), held_out=True)
    problems = [skills().ask(source, AGENT) for _ in range(HELD_OUT)]
    return round(statistics.fmean(answer.reward for answer in agent.answers(problems, seed=seed)), 4)


def figures(learned: Learned) -> dict[str, Any]:
    """What the training says of itself."""
    metrics = learned.metrics
    return {
        "episodes": metrics.new,
        "steps": metrics.steps,
        "tokens": metrics.tokens,
        "clipped_share": metrics.clipped_share,
        "gap_nats": metrics.gap_nats,
        "truncated_share": metrics.truncated_share,
    }


def report(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rewards by step of every run, and when each reached the target."""
    real = [row for row in runs if not row["shuffled"]]
    control = [row for row in runs if row["shuffled"]]
    return {
        "runs": list(runs),
        "start": [row["rewards"][0] for row in real],
        "step_of_target": [_first(row["rewards"]) for row in real],
        "held_out_before": [row["held_out_before"] for row in real],
        "held_out_after": [row["held_out_after"] for row in real],
        "control_held_out_after": [row["held_out_after"] for row in control],
    }


def _first(rewards: Sequence[float]) -> int | None:
    """The first step from which on all rewards reach the target; None: there is none."""
    below = [step for step, reward in enumerate(rewards) if reward < TARGET]
    first = below[-1] + 1 if below else 0
    return first if first < len(rewards) else None


def main() -> None:
    """`python -m bench.grpo [--quick] --json`; the last line is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="no effect: it always prints JSON")
    parser.add_argument("--quick", action="store_true", help="one seed, without the control")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--groups", type=int, default=GROUPS)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--recipe", type=json.loads, default={}, help="changes of the preset, as JSON")
    arguments = parser.parse_args()
    recipe = recipe_from({"preset": "grpo", **arguments.recipe})
    began_s = time.monotonic()
    planned = [(seed, shuffled) for shuffled in (False, True) for seed in SEEDS]
    planned = planned[:1] if arguments.quick else planned
    runs = []
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), get_context("spawn")) as pool:
        futures = [
            pool.submit(
                run,
                seed,
                recipe,
                steps=arguments.steps,
                groups=arguments.groups,
                samples=arguments.samples,
                shuffled=shuffled,
            )
            for seed, shuffled in planned
        ]
        for future in futures:
            runs.append(future.result())
            print(
                json.dumps({name: value for name, value in runs[-1].items() if name != "turns"}), flush=True
            )
    about = {"seconds": round(time.monotonic() - began_s), "commit": commit(), "cores": os.cpu_count()}
    print(json.dumps({**report(runs), **about}))


if __name__ == "__main__":
    main()
