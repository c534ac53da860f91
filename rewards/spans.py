"""Finds where a correction changed the text: character spans that get half of its mass.

Texts are compared word by word between their common beginning and end. If that would take too long, they are
compared line by line; if that would too, everything between beginning and end is one change.
"""

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import accumulate

from rewards.episode import Span, Weighted

_CELLS_MAX = 100_000  # units of one text x units of the other: about a second in the worst case
_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
_LINES = re.compile(r"[^\n]*\n|[^\n]+")

Hunk = tuple[int, int]
"""Characters `start` up to `end` that the other text does not have."""


def weigh(rejected: str, corrected: str) -> tuple[Weighted, Weighted]:
    """Both texts with their changed hunks as spans, which share half of a text's mass (2601.19055).

    If nothing or everything differs there are no spans: every character weighs the same. The time is linear
    in the texts' length, plus one comparison of at most `_CELLS_MAX` cells.
    """
    rejected_hunks, corrected_hunks = changed(rejected, corrected)
    return _weighted(rejected, rejected_hunks), _weighted(corrected, corrected_hunks)


def changed(rejected: str, corrected: str) -> tuple[tuple[Hunk, ...], tuple[Hunk, ...]]:
    """The hunks of each text that the other does not have, in order, none of them empty.

    Where words were only removed, the next word counts as changed: the agent has to say it earlier. At the
    end of a text there is no next word, and the end of the turn is always trained.
    """
    for pattern in (_WORDS, _LINES):
        left, right = pattern.findall(rejected), pattern.findall(corrected)
        head = _common(left, right)
        tail = _common(left[head:][::-1], right[head:][::-1])
        middles = left[head : len(left) - tail], right[head : len(right) - tail]
        if len(middles[0]) * len(middles[1]) <= _CELLS_MAX:
            edits = SequenceMatcher(None, *middles, autojunk=False).get_opcodes()
            moved = [(head + a, head + b, head + c, head + d) for tag, a, b, c, d in edits if tag != "equal"]
            return _hunks(left, [(a, b) for a, b, _, _ in moved]), _hunks(
                right, [(c, d) for *_, c, d in moved]
            )
    return _hunks(left, [(head, len(left) - tail)]), _hunks(right, [(head, len(right) - tail)])


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """How many units both begin with."""
    same = 0
    for left_unit, right_unit in zip(left, right, strict=False):
        if left_unit != right_unit:
            break
        same += 1
    return same


def _hunks(units: Sequence[str], ranges: Sequence[tuple[int, int]]) -> tuple[Hunk, ...]:
    """Ranges of units as ranges of characters, adjoining ones merged."""
    starts = [0, *accumulate(len(unit) for unit in units)]
    merged: list[Hunk] = []
    for first, last in ranges:
        start, end = starts[first], starts[last if last > first else _after_next_word(units, first)]
        if start == end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def _after_next_word(units: Sequence[str], first: int) -> int:
    following = first
    while following < len(units) and units[following].isspace():
        following += 1
    return min(following + 1, len(units))


def _weighted(text: str, hunks: Sequence[Hunk]) -> Weighted:
    inside = sum(end - start for start, end in hunks)
    if not inside or inside == len(text):
        return Weighted(text=text)
    return Weighted(text=text, spans=tuple(Span(start=start, end=end, weight=1.0) for start, end in hunks))
