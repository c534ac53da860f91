"""Which samples form each step of a lesson, and how much each counts.

Each part (new, replay, anchor) is a pool walked in seeded shuffles, so every sample comes as often as
any other; shares are fixed per lesson and each loss term is divided by its own mass.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.recipe import Recipe
from engine.tokens import Sample
from rewards.episode import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A sample in one step and the coefficient of each of its terms."""

    index: int  # into the lesson's samples
    supervised: float
    preference: float
    policy: float
    anchor: float


def steps_of(recipe: Recipe, new: int) -> int:
    """Optimizer steps of a lesson: `epochs` over the new episodes, within the recipe's bounds."""
    return min(recipe.steps, max(recipe.steps_min, math.ceil(recipe.epochs * new / recipe.new_per_step)))


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Linear warm-up, then linear to `final_rate` of the peak; `step` counts from 0."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    return recipe.learning_rate * warm * (1.0 - (1.0 - recipe.final_rate) * step / steps)


def draw(samples: Sequence[Sample], recipe: Recipe, seed: int) -> Iterator[list[Drawn]]:
    """Endless steps; the same samples, recipe and seed give the same steps."""
    per_step = {
        Part.NEW: (recipe.new_per_step, recipe.new_share),
        Part.REPLAY: (recipe.replay_per_step, recipe.replay_share),
        Part.ANCHOR: (recipe.anchors_per_step, recipe.anchor_share),
    }
    pools = {
        part: [index for index, sample in enumerate(samples) if sample.part is part]
        for part, (count, _) in per_step.items()
        if count > 0
    }
    pools = {part: pool for part, pool in pools.items() if pool}
    whole = sum(per_step[part][1] for part in pools)
    shares = {part: per_step[part][1] / whole for part in pools}
    walks = {part: _cycle(pool, random.Random(f"{seed}/{part}")) for part, pool in pools.items()}
    counts = {part: min(per_step[part][0], len(pool)) for part, pool in pools.items()}
    while True:
        drawn = {part: _distinct(walk, counts[part]) for part, walk in walks.items()}
        yield _weigh(samples, drawn, shares, recipe)


def _cycle(pool: Sequence[int], chance: random.Random) -> Iterator[int]:
    order = list(pool)
    while True:
        chance.shuffle(order)
        yield from order


def _distinct(walk: Iterator[int], count: int) -> dict[int, int]:
    """The next `count` of the walk and how often each came: at a seam between shuffles one may come twice."""
    times: dict[int, int] = {}
    for _ in range(count):
        index = next(walk)
        times[index] = times.get(index, 0) + 1
    return times


def _weigh(
    samples: Sequence[Sample],
    drawn: Mapping[Part, Mapping[int, int]],
    shares: Mapping[Part, float],
    recipe: Recipe,
) -> list[Drawn]:
    mass = {
        (part, index): samples[index].mass * times
        for part, times_by_index in drawn.items()
        for index, times in times_by_index.items()
    }
    told = {key: value for key, value in mass.items() if samples[key[1]].advantage is None}
    paired = {key: value for key, value in told.items() if samples[key[1]].rejected is not None}
    judged = {key: value for key, value in mass.items() if key not in told}
    anchors = {key: value for key, value in told.items() if key[0] is Part.ANCHOR}
    told_by_part = {part: sum(value for key, value in told.items() if key[0] is part) for part in drawn}
    return [
        Drawn(
            index=key[1],
            supervised=recipe.sft_weight * shares[key[0]] * told[key] / told_by_part[key[0]]
            if key in told
            else 0.0,
            preference=_share(recipe.preference_weight, key, paired),
            policy=_share(recipe.policy_weight, key, judged),
            anchor=_share(recipe.kl_weight, key, anchors),
        )
        for key in mass
    ]


def _share(weight: float, key: tuple[Part, int], among: Mapping[tuple[Part, int], float]) -> float:
    return weight * among[key] / sum(among.values()) if key in among else 0.0
