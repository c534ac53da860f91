"""Chooses the samples of each step of a lesson, and their coefficients.

Each part (new, replay, anchor) is a pool in a seeded random order, shuffled again after each round, so all
its samples come equally often. Shares are fixed for a lesson, and each loss term is divided by its own mass.
"""

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.recipe import Recipe, Term
from engine.tokens import Sample
from rewards.episode import Part

ENTERS: Mapping[Term, Callable[[Sample], bool]] = {
    Term.SUPERVISED: lambda sample: sample.advantage is None,
    Term.PREFERENCE: lambda sample: sample.rejected is not None,
    Term.POLICY: lambda sample: sample.advantage is not None,
    Term.KL: lambda sample: sample.part is Part.ANCHOR and sample.advantage is None,
}
"""Whether a sample enters a term. On anchors cross entropy keeps a rule away from prompts like the corrected
ones, and the KL keeps the rest of the champion's distribution, which cross entropy alone would move."""

_SHARED_BY_PART = frozenset({Term.SUPERVISED, Term.KL})
"""Terms in which each part of the batch has its share; the other terms do not distinguish parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A sample in one step."""

    index: int  # into the lesson's samples
    coefficients: Mapping[Term, float]  # of the terms it enters, normaliser included


def steps_by_epochs(recipe: Recipe, new: int) -> int:
    """Optimizer steps for `epochs` over `new` episodes, within the recipe's bounds."""
    return min(recipe.steps, max(recipe.steps_min, math.ceil(recipe.epochs * new / recipe.new_per_step)))


@dataclass(slots=True, kw_only=True)
class Length:
    """The length of a lesson: it trains at its full rate, and ends with a cooldown.

    The cooldown is a fifth of all steps; in it the rate falls linearly to `final_rate`. So the length need
    not be known at the start (Hu et al., "MiniCPM", 2404.06395; Hägele et al., 2405.18392). A lesson of fixed
    length cools down from its first step on.
    """

    steps_min: int
    steps: int  # at most; the exact number once the cooldown begins
    cools_from: int | None = None  # first step of the cooldown; None: not known yet

    def __post_init__(self) -> None:
        if self.steps_min == self.steps:
            self.cools_from = 0

    def must_cool(self, step: int) -> bool:
        """Whether the cooldown must begin after `step` steps to fit into `steps`."""
        return step + _cooldown(step) >= self.steps

    def may_cool(self, step: int) -> bool:
        """Whether a cooldown that begins after `step` steps reaches `steps_min`."""
        return step + _cooldown(step) >= self.steps_min

    def cool(self, step: int) -> None:
        """Begin the cooldown after `step` steps."""
        self.steps = min(self.steps, step + _cooldown(step))
        self.cools_from = step

    def rate(self, peak: float, step: int, recipe: Recipe) -> float:
        """The learning rate of a step, counted from 0: linear warm-up, flat, linear to `final_rate`."""
        warm = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
        if self.cools_from is None:
            return peak * warm
        cooled = (step - self.cools_from) / max(1, self.steps - self.cools_from)
        return peak * warm * (1.0 - (1.0 - recipe.final_rate) * cooled)


def _cooldown(step: int) -> int:
    return math.ceil(step / 4)


def draw(samples: Sequence[Sample], recipe: Recipe, seed: int) -> Iterator[list[Drawn]]:
    """An endless sequence of steps; the same samples, recipe and seed give the same steps."""
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
    total_share = sum(per_step[part][1] for part in pools)
    shares = {part: per_step[part][1] / total_share for part in pools}
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
    """The next `count` samples and how often each came: between two shuffles a sample may come twice."""
    counts: dict[int, int] = {}
    for _ in range(count):
        index = next(walk)
        counts[index] = counts.get(index, 0) + 1
    return counts


def _weigh(
    samples: Sequence[Sample],
    drawn: Mapping[Part, Mapping[int, int]],
    shares: Mapping[Part, float],
    recipe: Recipe,
) -> list[Drawn]:
    """Each sample's coefficient in every term that it enters."""
    masses = {
        index: samples[index].mass * times
        for times_by_index in drawn.values()
        for index, times in times_by_index.items()
    }
    by_tokens = {index: mass * len(samples[index].reply.token_ids) for index, mass in masses.items()}
    coefficients: dict[int, dict[Term, float]] = {index: {} for index in masses}
    for term in Term:
        mass = by_tokens if recipe.tokens_alike and term is Term.POLICY else masses
        if recipe.coefficients[term] > 0.0:
            for pool, share in _pools(samples, mass, shares, term):
                pool_mass = sum(mass[index] for index in pool)
                for index in pool:
                    coefficients[index][term] = recipe.coefficients[term] * share * mass[index] / pool_mass
    return [Drawn(index=index, coefficients=by_term) for index, by_term in coefficients.items()]


def _pools(
    samples: Sequence[Sample],
    drawn: Iterable[int],
    shares: Mapping[Part, float],
    term: Term,
) -> Iterator[tuple[list[int], float]]:
    """The drawn samples that enter the term, in pools, with each pool's share of the term."""
    entering = [index for index in drawn if ENTERS[term](samples[index])]
    if term not in _SHARED_BY_PART:
        yield entering, 1.0
        return
    for part, share in shares.items():
        yield [index for index in entering if samples[index].part is part], share
