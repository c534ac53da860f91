"""The recipe of a turn: how an agent is trained (optimizer, batch shares, loss terms). The turn stores it.

The defaults are for real models that are corrected; the tiny example base needs a larger learning rate.
`PRESETS` has recipes for other uses.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class Term(StrEnum):
    """One term of the loss.

    A term has a rule which samples enter it (`engine.schedule`), a function (`engine.terms`) and a
    coefficient.
    """

    SUPERVISED = "supervised"  # cross entropy on the replies people want
    PREFERENCE = "preference"  # DPO on a wanted reply against a rejected one
    POLICY = "policy"  # clipped policy gradient on replies that the agent sampled
    KL = "kl"  # forward KL from the champion on anchors, beside cross entropy


COEFFICIENTS: Mapping[Term, float] = MappingProxyType(
    {
        Term.SUPERVISED: 1.0,
        Term.PREFERENCE: 0.0,  # measured on the example base: no gain, twice the time
        Term.POLICY: 0.5,
        Term.KL: 0.3,  # on a pretrained base 1.0 kept replies of several lines from following their rule
    }
)
"""The default coefficient of each term."""

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "grpo": MappingProxyType(
            {
                "coefficients": {"policy": 1.0, "kl": 0.0},
                "group_advantages": True,
                "tokens_alike": True,
                "staleness_max": 4,
                "steps": 4,
                "steps_min": 1,
                "epochs": 2.0,
                "new_per_step": 64,
                "replay_per_step": 0,
                "anchors_per_step": 0,
                "warmup_steps": 0,
                "final_rate": 1.0,
                "carry_moments": True,
            }
        )
    }
)
"""Named recipes: what each changes in the defaults.

`grpo`: for agents that learn from outcomes. Group-relative advantages (Shao et al. 2024, 2402.03300) that are
not divided by the group's spread (Liu et al. 2025, Dr. GRPO, 2503.20783); every token of a step weighs the
same, the clip is wider upwards, groups without spread are left out and no KL holds the agent back (Yu et al.
2025, DAPO, 2503.14476). With the decoupled objective of `engine.behaviour`, samples that are four updates old
still teach as much as fresh ones (Fu et al. 2025, AReaL, 2505.24298). One to four steps a turn, without
anchors: outcomes judge what the agent samples now.
"""

TRIES_MAX = 8
"""Learning rates that a lesson may be tried at: each takes a slot, and as long as the lesson alone."""

_OLDER_NAMES: Mapping[str, Term] = {
    "sft_weight": Term.SUPERVISED,
    "preference_weight": Term.PREFERENCE,
    "policy_weight": Term.POLICY,
    "kl_weight": Term.KL,
}
"""Names of coefficients in older recipes, stored or configured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that determines an adapter, besides its episodes, its parent and its seed.

    `outcome_discount` is the discount rate of returns (Sutton & Barto, Reinforcement Learning, 2nd edition,
    section 3.3), where the only reward is the outcome at the end. 1, for tasks that end (section 3.4): which
    turn decided is not known, and each was needed. Less credits the early turns of a long conversation less.
    """

    preset: str = ""  # the named recipe that it differs from; empty: the defaults below
    rank: int = 16
    alpha: float = 32.0
    rslora: bool = False  # scale by alpha / sqrt(rank) instead of alpha / rank
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    steps: int = 100  # optimizer steps of a turn at most; it ends earlier once its corrections are learned
    steps_min: int = (
        60  # optimizer steps of a turn at least: with fewer it does not reach prompts in other words
    )
    epochs: float = 3.0  # over new episodes with an advantage, which have no sign of being learned
    warmup_steps: int = 4
    learning_rate: float | None = None  # None: by the width of the base (`engine.rates`)
    tries: tuple[float, ...] = (1.0,)  # multiples of the learning rate, tried side by side (`engine.tries`)
    final_rate: float = 0.1  # share of the learning rate left at the last step
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.0
    clip_norm: float = 1.0  # L2 norm of one agent's gradient
    carry_moments: bool = (
        False  # start from the champion's optimizer state; then rules spread to other prompts
    )
    new_per_step: int = 8
    replay_per_step: int = 6
    anchors_per_step: int = 16
    new_share: float = 0.4  # of a step's mass; renormalised over the parts that are present
    replay_share: float = 0.2
    anchor_share: float = 0.4
    coefficients: Mapping[Term, float] = field(default_factory=lambda: dict(COEFFICIENTS))
    spans: bool = True  # the characters that a person changed have half of a correction's weight
    preference_beta: float = 0.1
    policy_clip_low: float = 0.8
    policy_clip_high: float = 1.28
    importance_max: float = 2.0  # upper bound of pi_champion / pi_sampled (truncated importance sampling)
    tokens_alike: bool = False  # each token weighs the same in the policy term; else each reply does
    staleness_max: int | None = None  # turns between a sample's version and the champion; None: any number
    group_advantages: bool = False  # outcomes are compared with those of their task or prompt in this turn
    outcome_discount: float = 1.0  # of an outcome for a conversation, for each turn before the last one
    tokens_max: int = 2048  # longest prompt + reply; longer episodes are refused with a reason

    def __post_init__(self) -> None:
        assert self.preset in ("", *PRESETS)
        assert self.rank > 0
        assert self.steps >= 1
        assert self.learning_rate is None or 0 < self.learning_rate < 1
        assert self.steps_min <= self.steps
        assert 1 <= len(self.tries) <= TRIES_MAX
        assert all(0.0 < factor <= 100.0 for factor in self.tries)
        assert self.staleness_max is None or (type(self.staleness_max) is int and self.staleness_max >= 0)
        assert self.new_per_step > 0
        assert 0.0 < self.outcome_discount <= 1.0
        assert min(self.replay_per_step, self.anchors_per_step) >= 0
        assert self.coefficients.keys() == set(Term)
        assert min(self.coefficients.values()) >= 0.0

    @property
    def scale(self) -> float:
        """The factor of the adapter's product."""
        return float(self.alpha / (self.rank**0.5 if self.rslora else self.rank))


def recipe_from(values: Mapping[str, Any]) -> Recipe:
    """A recipe from stored or configured values; missing values have those of its preset, or their defaults.

    Raises `ValueError`, which names unknown values, and `AssertionError` if a value is out of range.
    """
    preset = values.get("preset", "")
    if not isinstance(preset, str) or preset not in ("", *PRESETS):
        raise ValueError(f"unknown preset; known: {', '.join(PRESETS)}")
    changes = PRESETS.get(preset, {})
    known = {setting.name for setting in fields(Recipe)}
    if unknown := sorted(values.keys() - known - _OLDER_NAMES.keys()):
        raise ValueError(f"unknown recipe settings {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    given = {**changes, **{name: value for name, value in values.items() if name in known}}
    given["coefficients"] = {
        **COEFFICIENTS,
        **{Term(name): value for name, value in changes.get("coefficients", {}).items()},
        **_coefficients_from(values),
    }
    for name in ("targets", "tries"):
        if name in given:
            given[name] = tuple(given[name])
    return Recipe(**given)


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON values, for the turn row and the manifest."""
    return {
        **asdict(recipe),
        "targets": list(recipe.targets),
        "tries": list(recipe.tries),
        "coefficients": {term.value: recipe.coefficients[term] for term in Term},
    }


def _coefficients_from(values: Mapping[str, Any]) -> dict[Term, float]:
    given = values.get("coefficients", {})
    if not isinstance(given, Mapping):
        raise ValueError("coefficients must be a table of numbers by term")
    older = {term.value: values[name] for name, term in _OLDER_NAMES.items() if name in values}
    if twice := sorted(older.keys() & given.keys()):
        raise ValueError(f"the coefficient of {', '.join(twice)} is given twice, under an older name too")
    terms = [term.value for term in Term]
    if unknown := sorted(given.keys() - set(terms)):
        raise ValueError(f"unknown loss terms {', '.join(unknown)}; known: {', '.join(terms)}")
    merged = {**older, **given}
    if wrong := sorted(name for name, value in merged.items() if not _is_number(value)):
        raise ValueError(f"the coefficient of {', '.join(wrong)} must be a number")
    return {Term(name): float(value) for name, value in merged.items()}


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
