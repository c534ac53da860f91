"""Which answer counts as that of a turn, where there were several."""

from typing import Any

from ledger.events import Interaction
from rewards.answered_turns import answered_turns
from tests.unit.rewards.events import build_interaction


def choice(name: str, reply: str, *, turn: int = 0, n: int = 2, **more: Any) -> Interaction:
    return build_interaction(name, "ask", reply, turn=turn, sampling={"n": n}, **more)


def spoken(*replies: str) -> tuple[dict[str, str], ...]:
    return tuple({"role": "assistant", "content": reply} for reply in replies)


def names(*interactions: Interaction) -> dict[int, str]:
    return {number: each.id for number, each in answered_turns(interactions).items()}


def test_of_a_turn_that_was_asked_again_the_last_answer_counts() -> None:
    assert names(choice("a", "x", n=1), choice("b", "y", n=1)) == {0: "b"}


def test_of_several_choices_the_one_counts_that_a_later_prompt_repeats() -> None:
    later = choice("c", "z", turn=1, n=1, messages=spoken("x"))
    assert names(choice("a", "x"), choice("b", "y"), later) == {0: "a", 1: "c"}


def test_a_turn_is_left_out_where_nobody_knows_which_choice_was_used() -> None:
    edited = choice("c", "z", turn=1, n=1, messages=spoken("x, edited"))
    assert names(choice("a", "x"), choice("b", "y")) == {}
    assert names(choice("a", "x"), choice("b", "y"), edited) == {1: "c"}
