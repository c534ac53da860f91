"""The default learning rate of an adapter, by the width of the base."""

from engine.recipe import Recipe

_RATE = 5e-4  # of LoRA with alpha 32 on a base that is `_WIDTH` wide: ten times that of full fine-tuning
_WIDTH = 2000
_EXPONENT = 0.781  # fitted on the Llama family
_ALPHA = 32.0


def peak_rate(recipe: Recipe, *, width: int) -> float:
    """The recipe's learning rate; if it has none, 5e-4 (2000 / width)^0.781 for adapters of alpha 32.

    The rule and its constants: Schulman et al., "LoRA Without Regret" (2025), and the hyperparameter page of
    Tinker's documentation. The rate does not depend on the rank where the scale is alpha / rank; with another
    scale it changes by the inverse, since Adam's steps have the size of the rate whatever the gradient's.
    """
    if recipe.learning_rate is not None:
        return recipe.learning_rate
    default_scale = _ALPHA / recipe.rank
    return float(_RATE * (_WIDTH / width) ** _EXPONENT * default_scale / recipe.scale)
