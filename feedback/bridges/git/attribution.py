"""Tells whose edits of an agent's lines are: each goes to the last commits that have its lines in their diff.

This follows no line through merges as `git blame` does, but it finds who removed lines, and who put old ones
back. Where several commits have the same line, the last one counts. Pure functions.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from feedback.bridges.git.commits import Commit, People
from feedback.bridges.git.corrected_reply import CommittedFile
from feedback.bridges.git.line_edits import LineEdit, line_edits, line_key, lines_of, touches


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitDiff:
    """The lines that a commit removed and added, by their keys. A merge is compared with its first parent."""

    commit: Commit
    joins: bool = False  # what others had committed elsewhere: a merge, or a squash
    removed: frozenset[str]
    added: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTexts:
    """One file before the agent's commit, after it, and now."""

    path: str
    before: str
    said: str
    now: str  # empty where the file is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributedEdits:
    """What became of the lines of an agent's commit."""

    files: tuple[CommittedFile, ...]  # with people's edits only
    lines_by_email: Mapping[str, int]  # lines that each person changed
    others: int  # edits by agents and bots, and by nobody known


def attribute(texts: Iterable[FileTexts], diffs: Sequence[CommitDiff], people: People) -> AttributedEdits:
    """Split the edits of an agent's lines into those of people and others; `diffs` are oldest first."""
    files = []
    lines_by_email: Counter[str] = Counter()
    others = 0
    for text in texts:
        said = lines_of(text.said)
        written = line_edits(lines_of(text.before), said)
        edits = []
        for edit in line_edits(said, lines_of(text.now)):
            if not any(touches(edit, added) for added in written):
                continue
            changers = [commit for commit in _changers(edit, said, diffs) if people.wrote(commit)]
            if not changers:
                others += 1
                continue
            edits.append(edit)
            lines_by_email.update(commit.author for commit in changers)
        files.append(
            CommittedFile(
                path=text.path,
                lines=tuple(said),
                added=tuple(range(added.at, added.at + len(added.lines)) for added in written),
                edits=tuple(edits),
            )
        )
    return AttributedEdits(files=tuple(files), lines_by_email=lines_by_email, others=others)


def _changers(edit: LineEdit, said: Sequence[str], diffs: Sequence[CommitDiff]) -> list[Commit]:
    """For each line of an edit the last commit that added it; where it only removes lines, that removed it.

    A merge or squash counts only where no other commit has the lines: somebody changed them while merging.
    """
    added = {key for line in edit.lines if (key := line_key(line))}
    removed = {key for line in said[edit.start : edit.end] if (key := line_key(line))}
    for joins in (False, True):
        of_kind = [diff for diff in diffs if diff.joins is joins]
        by_added = {key: diff.commit for diff in of_kind for key in added & diff.added}
        by_removed = {key: diff.commit for diff in of_kind for key in removed & diff.removed}
        if by_added or by_removed:
            return list((by_added or by_removed).values())
    return []
