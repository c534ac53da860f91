"""Plays experiments whose rollouts take recorded times and lengths, and whose training is real.

For machines without vLLM. The base has random weights, so there are no rewards. Time runs as it would: a
rollout takes the seconds that were recorded, a pass takes what it takes now, and the learner trains those
that are ready together. No time is spent on waiting for a rollout.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.experiment_plan import RowPlan, durations

GATHER_S = 0.2  # a pass waits so long for others, as in `bench.experiment_rows`
_TOKEN_IDS = 2048  # every shape has these
_SPREAD = 0.1  # rollouts take up to so much more or less than the recorded mean


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRecord:
    """Lengths in tokens and seconds of one step's rollouts, and where they are from."""

    prompt_tokens: tuple[int, int]
    reply_tokens: tuple[int, int]
    rollout_s: float
    swap_s: float
    source: str


RECORDS = {
    "sums": RolloutRecord(
        prompt_tokens=(34, 48),
        reply_tokens=(6, 14),
        rollout_s=4.6,
        swap_s=0.6,
        source="recorded: `bench.experiments --quick`, one experiment at a time, two cores, tools of 4 s; "
        "51 tokens a rollout on average",
    ),
    "long": RolloutRecord(
        prompt_tokens=(448, 576),
        reply_tokens=(48, 80),
        rollout_s=4.6,
        swap_s=0.6,
        source="not recorded: the lengths of `bench.engine`'s update 1x576, the seconds of the record sums",
    ),
}
"""Rollouts to play. The field report gives no lengths."""

Tokens = tuple[int, ...]
Update = Callable[[Sequence[int]], float]
"""Trains these experiments' steps in one pass; returns the seconds it took."""


def rollout_batch(
    record: RolloutRecord, plan: RowPlan, experiment: int
) -> list[tuple[Tokens, tuple[Tokens, ...]]]:
    """The tokens of one step of an experiment: a prompt for each group, with its sampled replies."""
    chance = random.Random(f"rollouts {plan.seed} {experiment}")

    def ids(bounds: tuple[int, int]) -> Tokens:
        return tuple(chance.randrange(_TOKEN_IDS) for _ in range(chance.randint(*bounds)))

    return [
        (ids(record.prompt_tokens), tuple(ids(record.reply_tokens) for _ in range(plan.samples)))
        for _ in range(plan.groups)
    ]


@dataclass(slots=True)
class _Running:
    """An experiment in its present step."""

    experiment: int
    began_s: float
    ready_s: float  # when its rollouts have ended


def play_row(plan: RowPlan, record: RolloutRecord, update: Update) -> dict[str, float]:
    """The columns of a row, in the seconds that it would have taken beside real rollouts."""
    chance = random.Random(f"times {plan.seed}")
    waiting = list(range(plan.experiments))
    steps: dict[int, list[dict[str, Any]]] = {experiment: [] for experiment in waiting}
    running: list[_Running] = []

    def begin(experiment: int, now_s: float) -> None:
        rollout_s = record.rollout_s * chance.uniform(1.0 - _SPREAD, 1.0 + _SPREAD)
        running.append(_Running(experiment, now_s, now_s + rollout_s))

    for _ in range(min(plan.at_once, plan.experiments)):
        begin(waiting.pop(0), 0.0)
    free_s = 0.0  # when the learner is free
    while running:
        first_s = max(free_s, min(run.ready_s for run in running))
        starts_s = first_s + (GATHER_S if len(running) > 1 else 0.0)
        ready = [run for run in running if run.ready_s <= starts_s]
        train_s = update([run.experiment for run in ready])
        free_s = starts_s + train_s
        ended_s = free_s + record.swap_s
        for run in ready:
            running.remove(run)
            steps[run.experiment].append(
                {
                    "rollout_s": run.ready_s - run.began_s,
                    "wait_s": starts_s - run.ready_s,
                    "train_s": train_s,
                    "swap_s": record.swap_s,
                    "step_s": ended_s - run.began_s,
                    "ended_at_s": ended_s,
                }
            )
            if len(steps[run.experiment]) < plan.steps:
                begin(run.experiment, ended_s)
            elif waiting:
                begin(waiting.pop(0), ended_s)
    return durations([{"steps": own} for own in steps.values()], 0.0)
