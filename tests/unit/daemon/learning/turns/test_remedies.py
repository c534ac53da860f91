"""What a retry changes, and that a first try changes nothing."""

from daemon.learning.turns.remedies import adjusted_recipe, anchors_of
from engine.recipe import Recipe
from ledger.learning.retries import Remedy
from rewards.batch import SIMILAR_SHARE


def test_a_first_try_is_as_the_recipe_says() -> None:
    assert adjusted_recipe(Recipe(), ()) == Recipe()
    assert anchors_of((), anchors_max=160) == (160, SIMILAR_SHARE)


def test_a_longer_try_has_more_steps_at_least_and_at_most_and_tries_several_rates() -> None:
    recipe = adjusted_recipe(Recipe(steps=100, steps_min=24), [Remedy.LONGER])
    assert (recipe.steps, recipe.steps_min) == (200, 48)
    assert recipe.tries[0] == 1.0
    assert len(recipe.tries) > 1
    own = Recipe(tries=(2.0, 1.0))
    assert adjusted_recipe(own, [Remedy.LONGER]).tries == own.tries


def test_a_try_after_harm_has_more_anchors_and_more_near_misses() -> None:
    recipe = adjusted_recipe(Recipe(), [Remedy.LONGER, Remedy.ANCHORS])
    assert recipe.steps == 2 * Recipe().steps, "remedies add up"
    assert recipe.anchors_per_step > Recipe().anchors_per_step
    assert recipe.anchor_share > Recipe().anchor_share
    anchors_max, similar_share = anchors_of([Remedy.ANCHORS], anchors_max=160)
    assert anchors_max > 160
    assert similar_share > SIMILAR_SHARE
