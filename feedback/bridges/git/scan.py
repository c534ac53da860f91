"""Scans a branch: for each interaction that commits name, what the branch said about it, state by state.

The first state is the merge, or the commit itself where it was pushed to the branch. Later ones are the
branch's commits within some days that changed the same files. Nothing is remembered between scans.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property

from feedback.bridges.git.attribution import AttributedEdits, FileTexts, attribute
from feedback.bridges.git.commits import Commit, People
from feedback.bridges.git.corrected_reply import NotRendered, render
from feedback.bridges.git.git_events import BranchState
from feedback.bridges.git.reply_passages import Reply
from feedback.bridges.git.repository import FileChange, Repository
from feedback.bridges.git.verdicts import BranchVerdict, judge, keepers

STATES_MAX = 50
"""States of one interaction: later ones are not looked at."""

FILES_MAX = 200
LINES_MAX = 5000
"""Of one file: comparing two files takes time by the square of the lines that differ."""

_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRules:
    """What a scan looks at, and whose commits count."""

    people: People
    generated: Sequence[str]  # patterns of paths that nobody writes by hand
    days: float  # after the merge, in which changes still correct a reply
    since_days: float  # commits before that are not looked at
    merges: Mapping[str, str] = field(default_factory=dict)
    """The commit of the branch by the tip of what was merged, as a webhook tells: needed for a squash whose
    message does not name the interaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedInteraction:
    """What a branch said about one interaction."""

    interaction: str
    commit: str  # the agent's
    states: tuple[BranchState, ...]  # empty where the commit is not merged
    reason: str = ""  # why there are none


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """An agent's commit with the commit of the branch by which it got there."""

    written: Commit
    merged: Commit

    @property
    def was_merged(self) -> bool:
        """Whether somebody merged it, and so looked at its lines, instead of pushing it to the branch."""
        return self.merged.id != self.written.id


class Scan:
    """One scan of one branch. Raises `feedback.bridges.git.repository.GitFailed`."""

    def __init__(self, repository: Repository, branch: str, rules: ScanRules, *, now_s: float) -> None:
        self._repository = repository
        self._rules = rules
        self._now_s = now_s
        self._tip = repository.commit_id(branch)
        self._mainline = repository.mainline(self._tip)
        self._place = {commit.id: place for place, commit in enumerate(self._mainline)}
        since_s = now_s - rules.since_days * _DAY_S
        on_branch = repository.agent_commits([self._tip], since_s=since_s)
        elsewhere = repository.agent_commits([], since_s=since_s)
        self._on_branch = {commit.id for commit in on_branch}
        self._commits: dict[str, list[Commit]] = {}
        self._files: dict[str, list[FileChange]] = {}  # that each agent's commit wrote: read once
        for commit in reversed([*elsewhere, *on_branch]):  # those on the branch first, oldest first
            for interaction in commit.interactions:
                commits = self._commits.setdefault(interaction, [])
                if commit.id not in {known.id for known in commits} and not commit.is_merge:
                    commits.append(commit)

    @property
    def interactions(self) -> tuple[str, ...]:
        """The interactions that the commits name."""
        return tuple(self._commits)

    @cached_property
    def name(self) -> str:
        """A name that this repository and its clones share."""
        return self._repository.first_commit(self._tip)[:12]

    def of(self, interaction: str, reply: Reply | None) -> ScannedInteraction:
        """What the branch says about an interaction; `reply` is the agent's, None where it is not known."""
        origins = [origin for commit in self._commits[interaction] if (origin := self._origin(commit))]
        if not origins:
            commit = self._commits[interaction][0].id
            return ScannedInteraction(
                interaction=interaction, commit=commit, states=(), reason="not merged into the branch"
            )
        origin = next((origin for origin in origins if self._says(origin, reply)), origins[-1])
        states = tuple(_distinct(self._states(origin, reply)))
        return ScannedInteraction(interaction=interaction, commit=origin.written.id, states=states)

    def _origin(self, commit: Commit) -> _Origin | None:
        """How an agent's commit got to the branch; None where it did not."""
        if commit.id in self._place:
            return _Origin(written=commit, merged=commit)
        if commit.id in self._on_branch:
            later = self._repository.descendants(commit.id, self._tip)
            merges = [merge for merge in self._mainline if merge.id in later]
            return _Origin(written=commit, merged=merges[-1]) if merges else None
        merged = self._squash_of(commit)
        return None if merged is None else _Origin(written=commit, merged=merged)

    def _squash_of(self, commit: Commit) -> Commit | None:
        """The commit of the branch that has the lines of one that is not on it: it names the same
        interaction, or a webhook told of it."""
        named = set(commit.interactions)
        squashes = [other for other in self._mainline if named & set(other.interactions)]
        tips = self._repository.tips_with(commit.id) if self._rules.merges else []
        told_of = {self._rules.merges[tip] for tip in tips if tip in self._rules.merges}
        squashes += [self._mainline[self._place[id]] for id in told_of if id in self._place]
        return squashes[-1] if squashes else None

    def _says(self, origin: _Origin, reply: Reply | None) -> bool:
        """Whether a commit is what the agent said; a squash may have people's changes in it."""
        if reply is None:
            return origin.was_merged
        files = attribute(self._texts(origin.written, origin.written), (), self._rules.people).files
        try:
            render(reply, files)
        except NotRendered:
            return False
        return True

    def _states(self, origin: _Origin, reply: Reply | None) -> Iterator[BranchState]:
        """What the branch says at the merge, and after each of its commits that changed the same files."""
        end = self._end(origin.merged)
        paths = self._paths(origin.written, self._mainline[end].id)
        steps = [origin.merged.id]
        if origin.merged.id != self._mainline[end].id:
            steps += self._repository.mainline_steps(origin.merged.id, self._mainline[end].id, paths)
        steps = steps[:STATES_MAX]
        window_s = origin.merged.committed_s + self._rules.days * _DAY_S
        for number, step in enumerate(steps, start=1):
            has_stayed = number == len(steps) and self._now_s >= window_s
            edits = self._edits(origin, step, paths)
            verdict = judge(
                edits,
                reply,
                keepers=keepers(origin.merged, origin.written, self._rules.people),
                is_over=origin.was_merged or has_stayed,
            )
            commit = self._mainline[self._place[step]]
            yield BranchState(verdict=verdict, since_s=commit.committed_s, commit=commit.id)

    def _end(self, merged: Commit) -> int:
        """The place of the branch's last commit within the days after a merge."""
        last_s = merged.committed_s + self._rules.days * _DAY_S
        places = range(self._place[merged.id] + 1)
        return next(
            place for place in places if self._mainline[place].committed_s <= last_s or place == places[-1]
        )

    def _edits(self, origin: _Origin, step: str, paths: Collection[str]) -> AttributedEdits:
        texts = self._texts(origin.written, self._mainline[self._place[step]])
        if all(text.said == text.now for text in texts):
            return attribute(texts, (), self._rules.people)
        is_squashed = origin.written.id not in self._on_branch
        others = self._repository.tips_with(origin.written.id) if is_squashed else []
        diffs = [
            replace(diff, joins=True) if is_squashed and diff.commit.id == origin.merged.id else diff
            for diff in self._repository.diffs(origin.written.id, [step, *others], paths)
        ]
        return attribute(texts, diffs, self._rules.people)

    def _paths(self, written: Commit, end: str) -> list[str]:
        """The names of the files that the agent's commit changed, then and later."""
        paths = {change.path: change.path for change in self._written(written)}
        renames = self._repository.changes(end, since=written.id) if end != written.id else []
        later = {change.old_path: change.path for change in renames if change.status == "R"}
        return sorted({*paths, *(later[path] for path in paths if path in later)})

    def _written(self, written: Commit) -> list[FileChange]:
        """The files that a commit wrote lines of, without generated ones."""
        if written.id not in self._files:
            self._files[written.id] = [
                change
                for change in self._repository.changes(written.id)
                if change.is_file
                and not any(fnmatchcase(change.path, name) for name in self._rules.generated)
            ][:FILES_MAX]
        return self._files[written.id]

    def _texts(self, written: Commit, now: Commit) -> list[FileTexts]:
        """The files of an agent's commit, as they were before, as it left them, and as they are now."""
        files = self._written(written)
        since = {
            change.old_path: change.blob if change.is_file else ""  # gone, or a link now
            for change in (self._repository.changes(now.id, since=written.id) if now.id != written.id else ())
            if change.status != "A"
        }
        blobs = {blob for file in files for blob in (file.old_blob, file.blob, since.get(file.path, ""))}
        texts = {**self._repository.texts(blobs), "": ""}
        known = []
        for file in files:
            states = (file.old_blob.strip("0") and file.old_blob, file.blob, since.get(file.path, file.blob))
            if not all(blob in texts and texts[blob].count("\n") < LINES_MAX for blob in states):
                continue
            before, said, later = (texts[blob] for blob in states)
            known.append(FileTexts(path=file.path, before=before, said=said, now=later))
        return known


def _distinct(states: Iterable[BranchState]) -> Iterator[BranchState]:
    """The states that say something else than the one before."""
    before: BranchVerdict | None = None
    for state in states:
        if state.verdict != before:
            yield state
        before = state.verdict
