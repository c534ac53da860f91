"""Recipes with older names are read; unknown values are refused by name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.recipe import COEFFICIENTS, PRESETS, Recipe, Term, recipe_from, recipe_values

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


def test_a_preset_changes_the_defaults_and_settings_change_the_preset() -> None:
    grpo = recipe_from({"preset": "grpo"})
    assert grpo.coefficients == {**COEFFICIENTS, Term.POLICY: 1.0, Term.KL: 0.0}
    assert (grpo.steps_min, grpo.steps, grpo.anchors_per_step, grpo.rank) == (1, 4, 0, Recipe().rank)
    changed = recipe_from({"preset": "grpo", "steps": 2, "coefficients": {"kl": 0.1}})
    assert changed == replace(grpo, steps=2, coefficients={**COEFFICIENTS, Term.POLICY: 1.0, Term.KL: 0.1})


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_a_preset_comes_back_from_a_turns_row_as_it_was(preset: str) -> None:
    recipe = recipe_from({"preset": preset, "learning_rate": 1e-3})
    assert recipe_from(json.loads(json.dumps(recipe_values(recipe)))) == recipe


def test_a_turns_row_gives_the_same_recipe_after_its_preset_has_changed(monkeypatch: Any) -> None:
    stored = recipe_values(recipe_from({"preset": "grpo"}))
    monkeypatch.setattr("engine.recipe.PRESETS", {"grpo": {"steps": 1, "coefficients": {"kl": 9.0}}})
    assert recipe_values(recipe_from(stored)) == stored


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"preset": "ppo"}, "unknown preset; known: grpo"),
        ({"preset": ["grpo"]}, "unknown preset"),
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
