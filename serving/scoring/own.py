"""What a scorer of the user's own is: a function, or a server, that gives answers numbers in [0, 1].

`serving.scoring.registry` lists the kinds. Whatever such a scorer does, it cannot end the fleet role, and a
prompt without numbers never counts for the candidate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

GROUP = "clorad.scorers"
"""The group of Python entry points that name scorers."""

Wanted = str | Mapping[str, Any]
"""A wanted answer, or one that was given: a text, or an assistant message as OpenAI's API has it."""


class ScorerFunction(Protocol):
    """What an entry point of the group `clorad.scorers` names.

    It gets the conversation up to the answer (OpenAI's messages), the answer that a person wanted, and some
    answers to judge, in an order that does not say which model gave them. It returns one number for each:
    1 is as good as wanted, 0 is worthless. All texts are redacted. It runs in a process of its own, which is
    ended after `gate.scorer_s_max` seconds; an exception ends it too, and the prompt has no score.
    """

    def __call__(
        self, messages: Sequence[Mapping[str, Any]], wanted: Wanted, answers: Sequence[Wanted]
    ) -> Sequence[float]:
        """One number in [0, 1] for each answer."""


class NoScore(Exception):
    """A scorer gave no numbers for one prompt. The text says why and quotes nobody; the gate is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The numbers for some answers, in their order."""

    values: tuple[float, ...]
    verdicts: tuple[str, ...] = ()  # of a judge, for each time it was asked: first, second or tie


class OwnScorer(Protocol):
    """A scorer that is open for one candidate. Threads may share it."""

    is_relative: bool
    """Whether its numbers only compare the answers it gets, as a judge's do."""

    def score(
        self, messages: Sequence[Mapping[str, Any]], wanted: Wanted, answers: Sequence[Wanted]
    ) -> Scored:
        """The numbers for these answers. Raises `NoScore`."""

    def close(self) -> None:
        """Give up its process or its connections."""


def checked(numbers: Any, count: int) -> tuple[float, ...]:
    """The numbers, if there are as many as answers and all lie in [0, 1]. Raises `NoScore`."""
    if not isinstance(numbers, list | tuple) or len(numbers) != count:
        raise NoScore(f"it gave no list of {count} numbers")
    if not all(isinstance(number, int | float) for number in numbers):
        raise NoScore("it gave something else than numbers")
    if not all(0 <= number <= 1 for number in numbers):  # nor not-a-number
        raise NoScore("it gave a number outside 0 to 1")
    return tuple(map(float, numbers))
