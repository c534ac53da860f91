"""Tests of the exam of a pretrained base, on a model whose replies are made up."""

from collections.abc import Callable, Sequence
from typing import Any

from bench.prose_exam import exam
from bench.prose_model import AnswerReading, Asked, ProseReply
from examples.real_base.prose_world import read_prose_world
from rewards.episode import text_of

CODE = "```python\nprint(1)\n```"
PROSE = "Gladly."


class MadeUpModel:
    """Replies as the given functions say; it follows no rule."""

    def __init__(self, *, sampled: Callable[[str], str], now: Callable[[str], str]) -> None:
        self._sampled, self._now = sampled, now

    def base_replies(self, prompts: Asked, tokens_max: int) -> list[ProseReply]:
        return replies_to(prompts, lambda _: PROSE)

    def sampled_by_base(self, prompts: Asked, tokens_max: int, *, seed: int) -> list[ProseReply]:
        return replies_to(prompts, self._sampled)

    def replies(self, prompts: Asked, *, tokens_max: int) -> list[ProseReply]:
        return replies_to(prompts, self._now)

    def read(self, prompts: Asked, answers: Sequence[str]) -> list[AnswerReading]:
        return [AnswerReading(first_choice=False, same_share=1.0, kl_nats=0.0, loss_nats=1.0)] * len(prompts)


def replies_to(prompts: Asked, reply: Callable[[str], str]) -> list[ProseReply]:
    return [ProseReply(text=reply(text_of(prompt[-1])), ended=True) for prompt in prompts]


def examine(*, sampled: Callable[[str], str], now: Callable[[str], str]) -> dict[str, Any]:
    model: Any = MadeUpModel(sampled=sampled, now=now)
    return exam(read_prose_world(), model, "support", 1)


def is_odd(text: str) -> bool:
    return len(text) % 2 == 1


def test_a_kind_that_the_base_does_not_repeat_is_no_decision() -> None:
    def code_where_odd(text: str) -> str:
        return CODE if is_odd(text) else PROSE

    found = examine(sampled=code_where_odd, now=code_where_odd)
    assert found["decision_kept"] == 1.0
    assert found["kind_kept"] < 1.0
    assert 0 < found["decisions"] < 24


def test_a_decision_that_the_base_repeats_and_the_version_changes_counts() -> None:
    found = examine(sampled=lambda _: PROSE, now=lambda text: CODE if is_odd(text) else PROSE)
    assert found["decisions"] == 24
    assert found["decision_kept"] == found["kind_kept"] < 1.0


def test_without_a_decision_of_the_base_there_is_no_share() -> None:
    found = examine(sampled=lambda _: CODE, now=lambda _: PROSE)
    assert (found["decisions"], found["decision_kept"]) == (0, None)


def test_a_prompt_that_is_not_answered_by_its_rule_is_shown_with_both_replies() -> None:
    found = examine(sampled=lambda _: PROSE, now=lambda _: PROSE)
    assert found["followed"] == {"1": 0.0}
    assert {missed["reply"] for missed in found["missed"]} == {PROSE}
    assert all(missed["wanted"] != PROSE for missed in found["missed"])
