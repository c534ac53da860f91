"""Compares two states of a file by lines: what the agent added, and what became of it since.

A text is a list of lines by `lines_of`; its join with newlines is the text again. Lines that differ in white
space only are equal here: a formatter's work is no correction. Pure functions.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import takewhile

COMPARISONS_MAX = 50_000_000
"""Comparisons of lines that two texts may take: some seconds. Only texts made for that take more."""

_POPULAR_LINES_MIN, _POPULAR_SHARE = 200, 0.01  # of `SequenceMatcher`: it starts no match at popular lines


@dataclass(frozen=True, slots=True, kw_only=True)
class LineEdit:
    """The lines from `start` to `end` (from 0, `end` not included) became `lines`."""

    start: int
    end: int
    lines: tuple[str, ...]
    at: int  # the first of `lines` in the text after all edits

    def __post_init__(self) -> None:
        assert 0 <= self.start <= self.end, "an edit is about lines in order"


def lines_of(text: str) -> list[str]:
    """The lines of a text, without their ends; a last line that is empty stands for the final newline."""
    return text.replace("\r\n", "\n").split("\n")


def line_key(line: str) -> str:
    """Equal for lines that differ in white space only."""
    return "".join(line.split())


def line_edits(before: Sequence[str], after: Sequence[str]) -> list[LineEdit]:
    """The edits, in order, that make `after` of `before`, but for white space.

    Texts that would take too long to compare, such as thousands of equal lines between thousands of others,
    are one edit from the first line that differs to the last.
    """
    old, new = [line_key(line) for line in before], [line_key(line) for line in after]
    head = common_length(old, new)
    tail = common_length(old[head:][::-1], new[head:][::-1])
    old, new = old[head : len(old) - tail], new[head : len(new) - tail]
    if _comparisons(old, new) > COMPARISONS_MAX:
        opcodes = [("replace", 0, len(old), 0, len(new))]
    else:
        opcodes = list(SequenceMatcher(a=old, b=new).get_opcodes())
    edits = [
        LineEdit(start=head + start, end=head + end, lines=tuple(after[head + at : head + to]), at=head + at)
        for tag, start, end, at, to in opcodes
        if tag != "equal"
    ]
    return [edit for edit in edits if not _is_formatting(before, edit)]


def apply_edits(lines: Sequence[str], edits: Iterable[LineEdit]) -> list[str]:
    """The lines after the edits, which are in order and do not overlap."""
    edited: list[str] = []
    place = 0
    for edit in edits:
        assert place <= edit.start <= edit.end <= len(lines), "edits lie in order within the lines"
        edited += [*lines[place : edit.start], *edit.lines]
        place = edit.end
    return [*edited, *lines[place:]]


def common_length(lines: Sequence[str], other_lines: Sequence[str]) -> int:
    """How many lines both begin with."""
    pairs = zip(lines, other_lines, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def touches(edit: LineEdit, added: LineEdit) -> bool:
    """Whether an edit of the agent's file changes what an edit by the agent's commit, `added`, put there.

    New lines right before or after the agent's lines change none of them. Where the agent had only removed
    lines, new lines in that place do: people put back what was needed.
    """
    first, last = added.at, added.at + len(added.lines)
    if edit.start == edit.end:
        return first < edit.start < last or first == edit.start == last
    return edit.start < last and first < edit.end


def _is_formatting(before: Sequence[str], edit: LineEdit) -> bool:
    """Whether the edit moves line breaks and white space only."""
    return line_key("".join(before[edit.start : edit.end])) == line_key("".join(edit.lines))


def _comparisons(old: Sequence[str], new: Sequence[str]) -> int:
    """At most so many comparisons `SequenceMatcher` takes: it looks at all pairs of equal lines, for each
    match anew."""
    counts = Counter(new)
    popular = len(new) * _POPULAR_SHARE + 1 if len(new) >= _POPULAR_LINES_MIN else len(new)
    pairs = sum(count for key in old if (count := counts[key]) <= popular)
    return (len(old) + pairs) * min(len(old), len(new))
