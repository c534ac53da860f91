"""Compares the rewards of the same experiments, run several at once and one after the other."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Rewards = Sequence[float]


def reward_differences(
    at_once: Sequence[Mapping[str, Any]], one_by_one: Sequence[Mapping[str, Any]]
) -> dict[str, tuple[float, float] | None]:
    """How much higher the reward is at once, of the last step and as the mean of all steps.

    Each is the mean over pairs of one experiment with one seed, and the half width of its 95 % interval: 1.96
    standard errors of the pairs. None with fewer than two pairs.
    """
    return {
        "last_step": _difference(at_once, one_by_one, lambda rewards: rewards[-1]),
        "all_steps": _difference(at_once, one_by_one, statistics.fmean),
    }


def _difference(
    at_once: Sequence[Mapping[str, Any]],
    one_by_one: Sequence[Mapping[str, Any]],
    figure: Callable[[Rewards], float],
) -> tuple[float, float] | None:
    above, below = _rewards(at_once), _rewards(one_by_one)
    pairs = [figure(above[key]) - figure(below[key]) for key in sorted(above.keys() & below.keys())]
    if len(pairs) < 2:
        return None
    error = statistics.stdev(pairs) / len(pairs) ** 0.5
    return round(statistics.fmean(pairs), 4), round(1.96 * error, 4)


def example_name(name: str, row: Mapping[str, Any]) -> str:
    """What the example's file calls an experiment of this row, which is named NAME-REGIME-AT_ONCE-SEED."""
    return name.rsplit(f"-{row['regime']}-", 1)[0]


def _rewards(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], Rewards]:
    """The rewards by step of each experiment and seed."""
    return {
        (example_name(name, row), row["seed"]): rewards
        for row in rows
        for name, rewards in row["rewards"].items()
    }
