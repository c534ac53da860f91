"""Measures how near one text is to another, by the character and word sequences that both have.

It needs no model and gives the same number on every machine. It does not see meaning.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

CHARS_MAX = 4000
"""Of longer texts the beginnings are compared."""

_CHARACTERS = 6  # longest sequence of characters
_WORDS = 2  # longest sequence of words


@dataclass(frozen=True, slots=True)
class Sequences:
    """How often a text has each sequence of 1 to 6 characters and of 1 and 2 words, by length."""

    counts: tuple[Counter[str], ...]


def sequences_of(text: str) -> Sequences:
    """The sequences of a text. White space between words does not count."""
    words = text[:CHARS_MAX].split()
    joined = "".join(words)
    characters = (
        Counter(joined[at : at + n] for at in range(len(joined) - n + 1)) for n in range(1, _CHARACTERS + 1)
    )
    pairs = (
        Counter(" ".join(words[at : at + n]) for at in range(len(words) - n + 1))
        for n in range(1, _WORDS + 1)
    )
    return Sequences((*characters, *pairs))


def nearness(answer: Sequences, wanted: Sequences) -> float:
    """1 for the same words, 0 for nothing in common: the mean F1 over all lengths.

    That is chrF++ (Popović, 2017) with β = 1: with its β = 2 an answer that says too much would gain.
    """
    scores = list(_f1_scores(answer, wanted))
    return sum(scores) / len(scores) if scores else 0.0


def nearest(answer: Sequences, others: Iterable[Sequences]) -> float:
    """The nearness to the nearest of the others; 0 where there are none."""
    return max((nearness(answer, other) for other in others), default=0.0)


def _f1_scores(answer: Sequences, wanted: Sequences) -> Iterator[float]:
    """One score for each length that either text has."""
    for mine, theirs in zip(answer.counts, wanted.counts, strict=True):
        size = mine.total() + theirs.total()
        if size:
            yield 2 * sum(min(count, theirs[sequence]) for sequence, count in mine.items()) / size
