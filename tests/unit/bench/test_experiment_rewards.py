"""Rewards of experiments at once are compared pair by pair with those of the same experiments alone."""

from collections.abc import Sequence
from typing import Any

from bench.experiment_rewards import reward_differences


def build_row(at_once: int, *, seed: int = 1, **rewards: Sequence[float]) -> dict[str, Any]:
    names = {f"{family}-compute-{at_once}-{seed}": values for family, values in rewards.items()}
    return {"regime": "compute", "seed": seed, "rewards": names}


def test_each_experiment_is_compared_with_itself_and_the_same_seed() -> None:
    at_once = [build_row(8, sum=[0.2, 0.9], mean=[0.4, 1.0]), build_row(8, seed=2, sum=[0.3, 0.8])]
    alone = [build_row(1, seed=2, sum=[0.3, 0.9]), build_row(1, mean=[0.4, 1.0], sum=[0.2, 1.0])]
    assert reward_differences(at_once, alone) == {
        "last_step": (-0.0667, 0.0653),
        "all_steps": (-0.0333, 0.0327),
    }


def test_a_family_with_a_dash_in_its_name_is_found() -> None:
    rows = [
        {"regime": "compute", "seed": seed, "rewards": {f"times-sum-compute-{n}-{seed}": [0.5]}}
        for n in (8, 1)
        for seed in (1, 2)
    ]
    assert reward_differences(rows[:2], rows[2:])["last_step"] == (0.0, 0.0)


def test_an_experiment_that_was_run_in_one_way_only_is_left_out() -> None:
    at_once, alone = [build_row(8, sum=[0.9], mean=[0.1])], [build_row(1, sum=[0.8])]
    assert reward_differences(at_once, alone) == {"last_step": None, "all_steps": None}
