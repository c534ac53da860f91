"""Spends the chance of a false verdict over the tries about one agent. Standard library only."""


def alpha_of(attempt: int, alpha: float) -> float:
    """The level of the k-th try; all tries together stay below `alpha` (sum of 1/(k(k+1)) is 1)."""
    assert attempt >= 1
    return alpha / (attempt * (attempt + 1))
