"""What the rows of `bench.experiments` measure, and the columns computed from how experiments went."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

PARTS = ("step_s", "rollout_s", "wait_s", "train_s", "swap_s")
"""Columns that are means over all steps."""

REWARDED_STEP = 9
GOOD = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPlan:
    """What one row measures."""

    regime: str
    at_once: int
    seed: int
    experiments: int
    steps: int
    groups: int
    samples: int
    tool_s: float
    cold: bool = False  # every experiment has servers and processes of its own, started for it
    environment: str = "sums"  # or retail: the name of its example file

    def is_measured_by(self, row: Mapping[str, Any]) -> bool:
        """Whether a finished row is of this plan. Rows that name no environment are of sums."""
        return asdict(self).items() <= {"environment": "sums", **row}.items()


def durations(runs: Sequence[Mapping[str, Any]], began_s: float) -> dict[str, float]:
    """Seconds from the row's beginning until experiments ended, and the mean seconds of steps' parts."""
    ended_s = [run["steps"][-1]["ended_at_s"] - began_s for run in runs]
    steps = [step for run in runs for step in run["steps"]]
    return {
        "final_s": round(max(ended_s), 1),
        "mean_s": round(fmean(ended_s), 1),
        "first_s": round(min(ended_s), 1),
        **{part: round(fmean(step[part] for step in steps), 3) for part in PARTS},
    }


def rewards(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rewards by step, and what was trained on."""
    steps = [step for run in runs for step in run["steps"]]
    curves = {run["experiment"]: [step["reward"] for step in run["steps"]] for run in runs}
    at_nine = [curve[REWARDED_STEP - 1] for curve in curves.values() if len(curve) >= REWARDED_STEP]
    return {
        "rewards": curves,
        "reward_first": round(fmean(curve[0] for curve in curves.values()), 4),
        "reward_last": round(fmean(curve[-1] for curve in curves.values()), 4),
        "at_90_by_step_9": sum(reward >= GOOD for reward in at_nine) if at_nine else None,
        "missing": sum(step["missing"] for step in steps),
        "tokens": sum(step["tokens"] for step in steps),
    }


def ratio_of_rows(rows: Mapping[int, Mapping[str, Any]], above: int, below: int, column: str) -> float | None:
    """A column of the row with `above` experiments at once over that of another row."""
    if above not in rows or below not in rows:
        return None
    return round(float(rows[above][column]) / float(rows[below][column]), 2)
