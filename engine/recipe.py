"""How one agent is taught in one turn: optimizer, batch shares, loss weights. Stored with every turn.

Defaults are the `hsd-v1` recipe for real models; the tiny example base needs a larger learning rate.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides an adapter besides its episodes, its parent and its seed."""

    rank: int = 16
    alpha: float = 32.0
    rslora: bool = False  # scale by alpha / sqrt(rank) instead of alpha / rank
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    steps: int = 60  # optimizer steps a turn at most
    steps_min: int = 24  # fewer teach nothing
    epochs: float = 3.0  # passes over the new episodes; steps = clamp(epochs, steps_min, steps)
    warmup_steps: int = 4
    learning_rate: float = 2e-4
    final_rate: float = 0.1  # share of the learning rate left at the last step, reached linearly
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.0
    clip_norm: float = 1.0  # of one agent's gradient; other agents' never enter
    carry_moments: bool = True  # start from the champion's optimizer state
    new_per_step: int = 8
    replay_per_step: int = 6
    anchors_per_step: int = 16
    new_share: float = 0.4  # of a step's mass; renormalised over the parts that are present
    replay_share: float = 0.2
    anchor_share: float = 0.4
    sft_weight: float = 1.0
    preference_weight: float = 0.0  # measured on the example base: no gain, twice the time
    preference_beta: float = 0.1
    policy_weight: float = 0.5
    policy_clip_low: float = 0.8
    policy_clip_high: float = 1.28
    importance_max: float = 2.0  # cap on pi_champion / mu
    kl_weight: float = 0.0  # forward KL from the champion on anchors, per token
    tokens_max: int = 2048  # longest prompt + reply; longer episodes are refused with a reason

    def __post_init__(self) -> None:
        assert self.rank > 0
        assert self.steps >= 1
        assert 0 < self.learning_rate < 1
        assert self.steps_min <= self.steps
        assert self.new_per_step > 0
        assert min(self.replay_per_step, self.anchors_per_step) >= 0

    @property
    def scale(self) -> float:
        """What the adapter's product is multiplied by."""
        return float(self.alpha / (self.rank**0.5 if self.rslora else self.rank))


def recipe_from(values: Mapping[str, Any]) -> Recipe:
    """A recipe from stored or configured values; raises `ValueError` naming what is not known."""
    known = {field.name for field in fields(Recipe)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(f"unknown recipe settings {', '.join(unknown)}; known: {', '.join(sorted(known))}")
    given = dict(values)
    if "targets" in given:
        given["targets"] = tuple(given["targets"])
    return Recipe(**given)


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain JSON values, for the turn row and the manifest."""
    values = asdict(recipe)
    values["targets"] = list(recipe.targets)
    return values
