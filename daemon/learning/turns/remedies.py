"""What a retry changes in a turn: its recipe, and the anchors that it is shown.

A turn that is no retry is planned as its agent's recipe says.
"""

from collections.abc import Iterable
from dataclasses import replace

from engine.recipe import Recipe
from ledger.learning.retries import Remedy
from rewards.batch import SIMILAR_SHARE

_STEPS_FACTOR = 2
"""Measured on a pretrained base: a turn of 24 steps had learned nothing, one of 60 nearly everything."""

_TRIES = (1.0, 3.0, 0.3)
"""Multiples of the learning rate: by such a factor the rule of `engine.rates` may miss the best one."""

_ANCHORS_FACTOR = 2
_ANCHOR_SHARE_MAX = 0.6
"""Of a step's mass: with more, a turn learns its corrections too slowly."""

_NEAR_MISSES_SHARE = 0.75
"""Of the anchors, those most similar to the corrected prompts: harm shows there first."""


def adjusted_recipe(recipe: Recipe, remedies: Iterable[Remedy]) -> Recipe:
    """The recipe of a retry.

    A longer turn has more steps at least too, so that one that has learned goes on, and tries several rates.
    """
    for remedy in remedies:
        match remedy:
            case Remedy.LONGER:
                recipe = replace(
                    recipe,
                    steps=recipe.steps * _STEPS_FACTOR,
                    steps_min=recipe.steps_min * _STEPS_FACTOR,
                    tries=recipe.tries if len(recipe.tries) > 1 else _TRIES,
                )
            case Remedy.ANCHORS:
                recipe = replace(
                    recipe,
                    anchors_per_step=recipe.anchors_per_step * _ANCHORS_FACTOR,
                    anchor_share=max(recipe.anchor_share, _ANCHOR_SHARE_MAX),
                )
    return recipe


def anchors_of(remedies: Iterable[Remedy], *, anchors_max: int) -> tuple[int, float]:
    """How many anchors a turn may have, and the share of them that answer similar prompts."""
    if Remedy.ANCHORS in remedies:
        return anchors_max * _ANCHORS_FACTOR, _NEAR_MISSES_SHARE
    return anchors_max, SIMILAR_SHARE
