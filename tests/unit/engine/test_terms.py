"""Every term of the loss has a function; `test_gradients` checks the functions."""

from engine.recipe import Term
from engine.terms import LOSSES


def test_every_term_has_a_function_and_they_are_summed_in_one_order() -> None:
    assert list(LOSSES) == list(Term)
