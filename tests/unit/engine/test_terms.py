"""Every term of the loss has its function; that each is right, `test_gradients` shows."""

from engine.recipe import Term
from engine.terms import LOSSES


def test_every_term_has_a_function_and_they_are_summed_in_one_order() -> None:
    assert list(LOSSES) == list(Term)
