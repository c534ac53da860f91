"""Recipes with older names are read; unknown values are refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.recipe import COEFFICIENTS, Recipe, Term, recipe_from, recipe_values

SAMPLES = Path(__file__).parent / "samples"


def test_a_recipe_stored_before_there_were_terms_is_read() -> None:
    stored = json.loads((SAMPLES / "format_1" / "pass.json").read_text())["lesson"]["recipe"]
    assert {"sft_weight", "preference_weight", "policy_weight", "kl_weight"} <= stored.keys()
    recipe = recipe_from(stored)
    assert recipe.coefficients == {
        Term.SUPERVISED: 1.0,
        Term.PREFERENCE: 0.5,
        Term.POLICY: 0.5,
        Term.KL: 0.05,
    }
    assert (recipe.rank, recipe.targets, recipe.steps) == (2, ("q_proj", "v_proj"), 6)


def test_a_recipe_comes_back_from_its_json_as_it_was() -> None:
    recipe = recipe_from({"rank": 4, "targets": ["q_proj"], "coefficients": {"kl": 0.05}})
    assert recipe_from(json.loads(json.dumps(recipe_values(recipe)))) == recipe


def test_missing_values_have_their_defaults() -> None:
    assert recipe_from({}) == Recipe()
    assert recipe_from({"coefficients": {"kl": 0.1}}).coefficients == {**COEFFICIENTS, Term.KL: 0.1}
    assert recipe_from({"kl_weight": 0.1}) == recipe_from({"coefficients": {"kl": 0.1}})


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"rang": 4}, "unknown recipe settings rang; known: .*coefficients"),
        ({"coefficients": {"dpo": 1.0}}, "unknown loss terms dpo; known: supervised, preference, policy, kl"),
        ({"coefficients": {"kl": "much"}}, "the coefficient of kl must be a number"),
        ({"coefficients": {"kl": True}}, "the coefficient of kl must be a number"),
        ({"coefficients": 0.5}, "a table of numbers"),
        ({"kl_weight": float("nan")}, "the coefficient of kl must be a number"),
        ({"kl_weight": 0.1, "coefficients": {"kl": 0.2}}, "kl is given twice"),
    ],
)
def test_unknown_values_are_refused_by_name(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        recipe_from(values)


@pytest.mark.parametrize("values", [{"coefficients": {"kl": -0.1}}, {"sft_weight": -1}])
def test_a_negative_coefficient_is_out_of_range(values: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        recipe_from(values)
