"""Measures how similar two prompts are, by shared words and trigrams; all numbers count as equal.

Simple on purpose: it needs no model, gives the same result on every machine, and a person can check it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_CHARS_MAX = 600  # of a prompt's end: bounds one comparison, whatever people paste
_SAME_WORDS_MIN = 0.6  # of two prompts that differ in a few names and numbers
_WORDS = re.compile(r"[^\W\d_]+|\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFeatures:
    """The words and character trigrams of a text."""

    words: frozenset[str]
    trigrams: frozenset[str]


def words(text: str) -> list[str]:
    """Words in lower case. A number becomes one `#` for each digit; names_like_this are several words."""
    return ["#" * len(word) if word.isdecimal() else word for word in _WORDS.findall(text.lower())]


def text_features(text: str) -> TextFeatures:
    """The features of a text; of a long text, those of its end."""
    text_words = ["#" if word.startswith("#") else word for word in words(text[-_CHARS_MAX:])]
    line = f" {' '.join(text_words)} "
    return TextFeatures(
        words=frozenset(text_words),
        trigrams=frozenset(line[at : at + 3] for at in range(max(0, len(line) - 2))),
    )


def similarity(features: TextFeatures, other_features: TextFeatures) -> float:
    """1 for the same words, 0 for nothing in common: the mean Jaccard similarity of words and trigrams."""
    return 0.5 * (
        _jaccard(features.words, other_features.words) + _jaccard(features.trigrams, other_features.trigrams)
    )


def most_similar(
    candidates: Sequence[TextFeatures], targets: Sequence[TextFeatures], count: int
) -> list[int]:
    """Places of `count` candidates: each target in turn takes the most similar candidate that is left.

    Because targets take turns, one prompt that was corrected often does not choose all candidates. Of equally
    similar candidates the earlier one is taken.
    """
    ranked = [
        iter(
            sorted(range(len(candidates)), key=lambda place: (-similarity(candidates[place], target), place))
        )
        for target in targets
    ]
    taken: dict[int, None] = {}
    while ranked and len(taken) < min(count, len(candidates)):
        for ranking in ranked:
            best = next(place for place in ranking if place not in taken)
            taken[best] = None
            if len(taken) == min(count, len(candidates)):
                break
    return list(taken)


def most_similar_in_other_words(
    candidates: Sequence[TextFeatures], targets: Sequence[TextFeatures], count: int
) -> list[int]:
    """As `most_similar`; a candidate in the words of one that is taken comes after those in other words.

    Of a hundred prompts that differ in a name and a number, one or two are taken while others are left.
    """
    taken: list[int] = []
    repeated: list[int] = []
    for place in most_similar(candidates, targets, len(candidates)):
        if len(taken) == count:
            break
        is_repeated = any(
            similarity(candidates[place], candidates[other]) >= _SAME_WORDS_MIN for other in taken
        )
        (repeated if is_repeated else taken).append(place)
    return [*taken, *repeated][:count]


def _jaccard(first: frozenset[str], second: frozenset[str]) -> float:
    shared = len(first & second)
    return shared / (len(first) + len(second) - shared) if shared else 0.0
