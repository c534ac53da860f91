"""Reads and rewrites patches in an agent's reply: unified diffs, and the form of `apply_patch`.

Only the bodies of hunks that people's edits touch are written anew; everything else stays as the agent wrote
it, wrong numbers and all. Pure functions.

Sources: GNU diffutils, "Detailed Description of Unified Format"; the patch form of OpenAI's `apply_patch`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from feedback.bridges.git.line_edits import LineEdit, common_length

_RANGES = re.compile(r"^@@ -(\d+(?:,\d+)?) \+(\d+)(?:,(\d+))? @@(.*)$")
_NEW = ("+", " ", "")
"""How lines of a hunk begin that the file has after it; editors strip the blank of empty lines."""

_PATH = re.compile(r"^(?:\+\+\+ (?:b/)?|\*\*\* (?:Update|Add) File: )([^\t]+?)\s*(?:\t.*)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunk:
    """The body of one hunk in a patch."""

    start: int  # of the body, among the lines of the patch
    path: str  # as the patch names it; empty where it names none
    body: tuple[str, ...]

    @property
    def new_lines(self) -> list[str]:
        """The lines of the file after the hunk."""
        return [line[1:] for line in self.body if line[:1] in _NEW]


def is_patch(lines: Sequence[str]) -> bool:
    """Whether the text is a patch that has a hunk."""
    return bool(hunks_of(lines))


def hunks_of(lines: Sequence[str]) -> list[Hunk]:
    """The hunks of a patch, in order."""
    hunks: list[Hunk] = []
    path, start = "", None
    for number, line in enumerate([*lines, "*** End Patch"]):
        # A removed line may begin with dashes too: it is a header only where the other header follows.
        is_header = line.startswith("--- ") and any(
            next_line.startswith("+++ ") for next_line in lines[number + 1 : number + 2]
        )
        if start is not None and (is_header or line[:1] not in ("+", "-", " ", "", "\\")):
            hunks += _hunk(lines[start:number], start, path)
            start = None
        if start is None and (named := _PATH.match(line)):
            path = named[1]
        if line.startswith(("@@", "*** Add File: ")):
            start = number + 1
    return hunks


def rewritten(lines: Sequence[str], edits: Mapping[int, Sequence[LineEdit]]) -> list[str] | None:
    """The patch with edits in the new sides of some hunks, by the `start` of each; None if nothing is left.

    Numbers in the headers of unified hunks follow, by as much as the lengths change.
    """
    patch = list(lines)
    path = None
    shift = shift_of_file = 0
    is_changing = False
    for hunk in hunks_of(lines):
        if hunk.path != path:
            path, shift_of_file = hunk.path, 0
        body = _edited(hunk.body, edits.get(hunk.start, ()))
        is_changing |= any(line[:1] in ("+", "-") for line in body)
        longer = _new_length(body) - _new_length(hunk.body)
        start = hunk.start + shift
        if start:
            patch[start - 1] = _renumbered(patch[start - 1], moved=shift_of_file, longer=longer)
        patch[start : start + len(hunk.body)] = body
        shift += len(body) - len(hunk.body)
        shift_of_file += longer
    return patch if is_changing else None


def _hunk(body: Sequence[str], start: int, path: str) -> list[Hunk]:
    """The hunk, without empty lines at its end: they belong to the text around it."""
    end = len(body)
    while end and not body[end - 1].strip():
        end -= 1
    return [Hunk(start=start, path=path, body=tuple(body[:end]))] if end else []


def _edited(body: Sequence[str], edits: Sequence[LineEdit]) -> list[str]:
    """The body after edits of its new side. A context line that an edit changes is removed by the patch."""
    if not edits:
        return list(body)
    edited: list[str] = []
    remaining = list(edits)
    number = 0  # of the next line of the new side
    for line in body:
        is_new = line[:1] in _NEW
        while is_new and remaining and max(remaining[0].end, remaining[0].start) <= number:
            edited += [f"+{new_line}" for new_line in remaining.pop(0).lines]
        is_replaced = is_new and bool(remaining) and remaining[0].start <= number < remaining[0].end
        if not is_replaced:
            edited.append(line)
        elif not line.startswith("+"):
            edited.append(f"-{line[1:]}")
        number += is_new
    for edit in remaining:
        edited += [f"+{new_line}" for new_line in edit.lines]
    return _without_restored(edited)


def _without_restored(body: Sequence[str]) -> list[str]:
    """The body where lines that are removed and put back at either end of a change are context."""
    restored: list[str] = []
    for is_change, block in groupby(body, key=lambda line: line[:1] in ("+", "-")):
        lines = list(block)
        if not is_change:
            restored += lines
            continue
        old = [line[1:] for line in lines if line.startswith("-")]
        new = [line[1:] for line in lines if line.startswith("+")]
        head = common_length(old, new)
        tail = common_length(old[head:][::-1], new[head:][::-1])
        kept_end = old[len(old) - tail :]
        old, new, kept = old[head : len(old) - tail], new[head : len(new) - tail], old[:head]
        restored += [f" {line}" for line in kept]
        restored += [f"-{line}" for line in old] + [f"+{line}" for line in new]
        restored += [f" {line}" for line in kept_end]
    return restored


def _new_length(body: Sequence[str]) -> int:
    return sum(line[:1] in _NEW for line in body)


def _renumbered(header: str, *, moved: int, longer: int) -> str:
    ranges = _RANGES.match(header)
    if ranges is None or not (moved or longer):
        return header
    count = "" if ranges[3] is None and not longer else f",{int(ranges[3] or 1) + longer}"
    return f"@@ -{ranges[1]} +{int(ranges[2]) + moved}{count} @@{ranges[4]}"
