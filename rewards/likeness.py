"""How alike two prompts look: shared words and shared groups of three letters, numbers aside.

Crude on purpose: it needs no model, gives the same answer everywhere, and a person can check it by eye.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_CHARS_MAX = 600  # of a prompt's end: bounds one comparison, whatever people paste
_WORDS = re.compile(r"[^\W\d_]+|\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFeatures:
    """What of a text is compared."""

    words: frozenset[str]
    trigrams: frozenset[str]


def words(text: str) -> list[str]:
    """Words in lower case; a number is as many `#` as it has digits, names_like_this are several words."""
    return ["#" * len(word) if word.isdecimal() else word for word in _WORDS.findall(text.lower())]


def text_features(text: str) -> TextFeatures:
    """What a text looks like; of a long one, its end."""
    found = ["#" if word.startswith("#") else word for word in words(text[-_CHARS_MAX:])]
    line = f" {' '.join(found)} "
    return TextFeatures(
        words=frozenset(found), trigrams=frozenset(line[at : at + 3] for at in range(max(0, len(line) - 2)))
    )


def likeness(one: TextFeatures, other: TextFeatures) -> float:
    """1 for the same words, 0 for nothing in common: the mean Jaccard similarity of words and trigrams."""
    return 0.5 * (_jaccard(one.words, other.words) + _jaccard(one.trigrams, other.trigrams))


def most_alike(candidates: Sequence[TextFeatures], targets: Sequence[TextFeatures], count: int) -> list[int]:
    """Places of `count` candidates: each target in turn takes the one most like it that is left.

    Taking turns keeps one often corrected prompt from choosing them all. Ties go to the earlier candidate.
    """
    ranked = [
        iter(sorted(range(len(candidates)), key=lambda place: (-likeness(candidates[place], target), place)))
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


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared) if shared else 0.0
