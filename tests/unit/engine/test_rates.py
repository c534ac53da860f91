"""The learning rate if the recipe has none."""

import pytest

from engine.rates import peak_rate
from engine.recipe import Recipe


def test_a_rate_in_the_recipe_is_taken_as_it_is() -> None:
    assert peak_rate(Recipe(learning_rate=3e-4), width=576) == 3e-4


def test_narrow_bases_learn_faster() -> None:
    rates = {width: peak_rate(Recipe(), width=width) for width in (256, 576, 2000, 2560, 4096)}
    assert rates[2000] == pytest.approx(5e-4)
    assert rates[256] == pytest.approx(2.49e-3, rel=0.01)
    assert rates[576] == pytest.approx(1.32e-3, rel=0.01)
    assert rates[2560] == pytest.approx(4.1e-4, rel=0.02)  # Qwen3-4B
    assert list(rates.values()) == sorted(rates.values(), reverse=True)


def test_the_rate_does_not_depend_on_the_rank_and_makes_up_for_another_scale() -> None:
    rate = peak_rate(Recipe(rank=16, alpha=32.0), width=576)
    assert peak_rate(Recipe(rank=4, alpha=32.0), width=576) == pytest.approx(rate)
    assert peak_rate(Recipe(rank=16, alpha=64.0), width=576) == pytest.approx(rate / 2)
    assert peak_rate(Recipe(rank=16, alpha=32.0, rslora=True), width=576) == pytest.approx(rate / 4)
