"""Makes the reply that an agent should have given: its own reply with what people changed in its commit.

Each passage of the reply (`feedback.bridges.git.reply_passages`) is looked up in the committed files; the
edits that lie in it are made in it. Where that is not certain, there is a reason instead. Pure functions.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from feedback.bridges.git.line_edits import LineEdit, apply_edits, line_key, lines_of
from feedback.bridges.git.patch_text import hunks_of, rewritten
from feedback.bridges.git.reply_passages import Passage, Reply, rewrite


class NotRendered(Exception):
    """Why there is no corrected reply, in words. The caller gives a number instead, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedFile:
    """One file as the agent's commit left it, and what people changed in the lines that the commit wrote."""

    path: str
    lines: tuple[str, ...]
    added: tuple[range, ...]  # the lines that the commit wrote; empty ranges where it only removed some
    edits: tuple[LineEdit, ...]  # of `lines`, in order

    def wrote(self, start: int, end: int) -> bool:
        """Whether the commit wrote, or removed, something in these lines."""
        return any(
            added.start < end and start < added.stop if added else start <= added.start <= end
            for added in self.added
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedReply:
    """The reply as people would have it."""

    reply: Reply
    is_changed: bool


def render(reply: Reply, files: Sequence[CommittedFile]) -> RenderedReply:
    """The reply with people's edits in it.

    Raises `NotRendered` if no passage of the reply is in the files, if one may be in several places, if an
    edit lies only partly in it, or if nothing would be left of it.
    """
    renderer = _Renderer(files)
    corrected = rewrite(reply, renderer.corrected)
    if not renderer.passages:
        raise NotRendered("no passage of the reply is in the commit as it was said")
    return RenderedReply(reply=corrected, is_changed=renderer.edits > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a passage is: in the lines from `start` to `end` of a file, without `prefix` and `suffix`."""

    file: CommittedFile
    start: int
    end: int
    prefix: str = ""
    suffix: str = ""


class _Renderer:
    """Corrects the passages of one reply; counts those it finds, and the edits it makes."""

    def __init__(self, files: Sequence[CommittedFile]) -> None:
        self._files = files
        self.passages = 0
        self.edits = 0

    def corrected(self, passage: Passage) -> Sequence[str]:
        if passage.is_patch:
            return self._corrected_patch(passage)
        first, last = _filled(passage.lines)
        place = self._place(passage.lines[first:last], passage.path) if first < last else None
        if place is None:
            return passage.lines
        edits = self._edits_in(place)
        if not edits:
            return passage.lines
        said = [*passage.lines[first:last]]
        said[0], said[-1] = place.prefix + said[0], said[-1] + place.suffix
        lines = _without_ends(apply_edits(said, edits), place)
        if not any(line.strip() for line in lines):
            raise NotRendered("nothing is left of what the agent wrote")
        if any(_is_fence(line) for line in lines) and not any(map(_is_fence, passage.lines)):
            raise NotRendered("the new lines would end the block of code")
        return [*passage.lines[:first], *lines, *passage.lines[last:]]

    def _corrected_patch(self, passage: Passage) -> Sequence[str]:
        edits: dict[int, Sequence[LineEdit]] = {}
        for hunk in hunks_of(passage.lines):
            place = self._place(hunk.new_lines, hunk.path or passage.path, whole_lines=True)
            if place is not None and (inside := self._edits_in(place)):
                edits[hunk.start] = inside
        if not edits:
            return passage.lines
        patch = rewritten(passage.lines, edits)
        if patch is None:
            raise NotRendered("nothing is left of what the agent wrote")
        return patch

    def _place(self, lines: Sequence[str], path: str, *, whole_lines: bool = False) -> _Place | None:
        """Where the lines are in what the commit wrote; None if nowhere. Raises `NotRendered` if unsure."""
        places = [
            place
            for file in self._files
            if _is_named(path, file.path)
            for place in _occurrences(file, lines, whole_lines=whole_lines)
            if file.wrote(place.start, place.end)
        ]
        if len(places) > 1:
            raise NotRendered("a passage of the reply may be in several places")
        self.passages += len(places)
        return places[0] if places else None

    def _edits_in(self, place: _Place) -> list[LineEdit]:
        """The edits that lie in the place, counted from its start."""
        inside = [_clipped(edit, place) for edit in place.file.edits if _meets(edit, place)]
        self.edits += len(inside)
        return [replace(edit, start=edit.start - place.start, end=edit.end - place.start) for edit in inside]


def _meets(edit: LineEdit, place: _Place) -> bool:
    """Whether an edit changes lines of the place, or adds some between them."""
    if edit.start == edit.end:
        return place.start < edit.start < place.end
    return edit.start < place.end and place.start < edit.end


def _clipped(edit: LineEdit, place: _Place) -> LineEdit:
    """What the edit does in the place. Only of removed lines it is certain which are removed there."""
    if place.start <= edit.start and edit.end <= place.end:
        return edit
    if edit.lines:
        raise NotRendered("an edit lies only partly in a passage of the reply")
    return replace(edit, start=max(edit.start, place.start), end=min(edit.end, place.end))


def _occurrences(file: CommittedFile, lines: Sequence[str], *, whole_lines: bool) -> Iterator[_Place]:
    """Where the lines stand in the file, but for white space at their ends."""
    sought = [line.rstrip() for line in lines]
    kept = [line.rstrip() for line in file.lines]
    for start in range(len(kept) - len(sought) + 1):
        if len(sought) == 1:
            at = kept[start].find(sought[0]) if sought[0] else -1
            ends = None if at < 0 else (kept[start][:at], kept[start][at + len(sought[0]) :])
        else:
            ends = _ends(kept[start : start + len(sought)], sought)
        if ends is not None and not (whole_lines and any(ends)):
            yield _Place(file=file, start=start, end=start + len(sought), prefix=ends[0], suffix=ends[1])


def _ends(window: Sequence[str], sought: Sequence[str]) -> tuple[str, str] | None:
    """What stands before the first and after the last line, if the others are the same; None otherwise."""
    if not window[0].endswith(sought[0]) or not window[-1].startswith(sought[-1]):
        return None
    if window[1:-1] != list(sought[1:-1]):
        return None
    return window[0][: len(window[0]) - len(sought[0])], window[-1][len(sought[-1]) :]


def _filled(lines: Sequence[str]) -> tuple[int, int]:
    """From the first to after the last line that is not blank."""
    filled = [number for number, line in enumerate(lines) if line.strip()]
    return (filled[0], filled[-1] + 1) if filled else (0, 0)


def _without_ends(lines: Sequence[str], place: _Place) -> list[str]:
    """The lines without what the file had before and after the passage in its first and last line."""
    text = "\n".join(lines)
    if len(text) < len(place.prefix) + len(place.suffix):
        raise NotRendered("an edit lies only partly in a passage of the reply")
    if not text.startswith(place.prefix) or not text.endswith(place.suffix):
        raise NotRendered("an edit lies only partly in a passage of the reply")
    return lines_of(text[len(place.prefix) : len(text) - len(place.suffix)])


def _is_named(named: str, path: str) -> bool:
    """Whether a path in a reply, which may be absolute, means this path in the repository."""
    named = named.removeprefix("./")
    return not named or f"/{named}".endswith(f"/{path}") or path.endswith(f"/{named}")


def _is_fence(line: str) -> bool:
    return line.lstrip().startswith(("```", "~~~"))


def share_kept(files: Iterable[CommittedFile]) -> float | None:
    """The share of the lines that the commit wrote and nobody changed; None if it wrote none. Blank lines do
    not count."""
    written = kept = 0
    for file in files:
        changed = {number for edit in file.edits for number in range(edit.start, edit.end)}
        numbers = {number for added in file.added for number in added if line_key(file.lines[number])}
        written += len(numbers)
        kept += len(numbers - changed)
    return kept / written if written else None
