"""Reads a git repository by git's own commands. What is in the repository runs nothing and hides nothing.

Hooks, external diffs, text conversions, pagers, signature programs, lazy fetches and replaced objects are
off; reading takes no settings of the machine and the user. Every command is bounded in time and output.
"""

import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from feedback.bridges.git.attribution import CommitDiff
from feedback.bridges.git.commits import Commit
from feedback.bridges.git.line_edits import line_key

COMMAND_S_MAX = 60.0
FETCH_S_MAX = 300.0
OUTPUT_BYTES_MAX = 64 * 1024 * 1024
FILE_BYTES_MAX = 512 * 1024
"""A longer file is left out: nobody wrote it by hand."""

COMMITS_MAX = 20_000
"""Commits that one command lists."""

_SAFE = (
    *("-c", "safe.directory=*", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"),
    *("-c", "protocol.allow=never", "-c", "log.showSignature=false", "-c", "log.mailmap=false"),
    *("-c", "log.showRoot=true", "-c", "i18n.logOutputEncoding=UTF-8", "-c", "core.attributesFile=/dev/null"),
)
_ENVIRONMENT = {
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
_DIFF = ("--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=all", "--submodule=short")
_COMMIT = "--format=%H%x00%P%x00%ae%x00%ce%x00%ct%x00%B"
_COMMIT_FIELDS = 6
_ID = re.compile(r"^[0-9a-f]{40}(?:[0-9a-f]{24})?$")
_HUNK = re.compile(rb"^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_FILE_MODES = ("100644", "100755")


class GitFailed(Exception):
    """A git command failed, took too long or said too much. The text names the command, not what it read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """One file that differs between two commits."""

    status: str  # A, D, M, R or T, as git names them
    old_path: str
    path: str
    old_blob: str  # only zeros where there is none
    blob: str
    is_file: bool  # on the new side: no link and no submodule


class Repository:
    """One repository on this machine. Nothing but `fetch` writes to it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def fetch(self) -> None:
        """Bring what its remotes have. Raises `GitFailed`.

        This alone needs the settings of the machine and the user: they know keys and proxies. It asks nobody
        for a password, and follows no submodules.
        """
        program = _program()
        safe = ("-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never", "-c", "gc.auto=0")
        whole = (program, "-C", str(self._path), *safe, "fetch", "--all", "--prune", "--quiet")
        try:
            done = subprocess.run(
                (*whole, "--no-recurse-submodules"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=FETCH_S_MAX,
                check=False,
                start_new_session=True,  # without a terminal it can ask nobody
            )
        except subprocess.TimeoutExpired:
            raise GitFailed(f"git fetch: took more than {FETCH_S_MAX:.0f} s") from None
        if done.returncode:
            raise GitFailed(f"git fetch: ended with {done.returncode}")

    def commit_id(self, revision: str) -> str:
        """The commit that a branch, tag or id names. Raises `GitFailed`."""
        output = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        return output.decode().strip()

    def first_commit(self, tip: str) -> str:
        """The oldest commit without parents: it tells this repository and its clones from others."""
        roots = self._git("rev-list", "--max-parents=0", _checked(tip)).decode().split()
        if not roots:
            raise GitFailed("git rev-list: no first commit")
        return roots[-1]

    def agent_commits(self, tips: Sequence[str], *, since_s: float) -> list[Commit]:
        """Commits since a Unix time that name an interaction, newest first; of all refs without `tips`."""
        which = [_checked(tip) for tip in tips] or ["--all"]
        named = ("--grep=clorad-interaction:", "--regexp-ignore-case", f"--max-age={max(0, int(since_s))}")
        commits = self._commits(*named, *which)
        return [commit for commit in commits if commit.interactions]

    def mainline(self, tip: str) -> list[Commit]:
        """The commits of the branch itself, newest first: of merges only the first parent is followed."""
        return list(self._commits("--first-parent", _checked(tip)))

    def mainline_steps(self, start: str, end: str, paths: Iterable[str]) -> list[str]:
        """Commits of the branch after `start` up to `end` that change these paths, oldest first."""
        output = self._git(
            "rev-list", "--first-parent", "--reverse", f"{_checked(start)}..{_checked(end)}", "--", *paths
        )
        return output.decode().split()

    def descendants(self, commit: str, tip: str) -> frozenset[str]:
        """The commits after `commit` that led from it to `tip`; none if it is no ancestor."""
        span = f"{_checked(commit)}..{_checked(tip)}"
        output = self._git("rev-list", "--ancestry-path", f"--max-count={COMMITS_MAX}", span)
        return frozenset(output.decode().split())

    def tips_with(self, commit: str) -> list[str]:
        """The commits of all refs that contain this one, such as those of merged pull requests."""
        output = self._git("for-each-ref", f"--contains={_checked(commit)}", "--format=%(objectname)")
        return sorted(set(output.decode().split()))

    def changes(self, commit: str, *, since: str | None = None) -> list[FileChange]:
        """Files that `commit` changed; or that differ between `since` and it. Renames are recognised."""
        span = (_checked(commit),) if since is None else (_checked(since), _checked(commit))
        output = self._git(
            "diff-tree", "--root", "--no-commit-id", "-r", "-z", "--raw", "--no-abbrev", "-M", "-l1000", *span
        )
        return list(_raw_changes(output.decode(errors="replace")))

    def texts(self, blobs: Iterable[str]) -> dict[str, str]:
        """Contents of files by id; those that are too long or no text are left out."""
        ids = sorted({_checked(blob) for blob in blobs if blob.strip("0")})
        sizes = self._git("cat-file", "--batch-check", stdin="\n".join(ids)).decode().splitlines()
        short = [id for id, _, size in map(str.split, sizes) if int(size) <= FILE_BYTES_MAX]
        output = self._git("cat-file", "--batch", stdin="\n".join(short))
        texts = {}
        place = 0
        while place < len(output):
            end = output.index(b"\n", place)
            id, _, size = output[place:end].decode().split()
            content = output[end + 1 : end + 1 + int(size)]
            place = end + 1 + int(size) + 1
            if b"\0" not in content:
                texts[id] = content.decode(errors="replace")
        return texts

    def diffs(self, start: str, ends: Iterable[str], paths: Iterable[str]) -> list[CommitDiff]:
        """What each commit after `start` up to `ends` removed and added in these paths, oldest first."""
        span = (f"^{_checked(start)}", *map(_checked, ends))
        of_paths = ("--", *paths)
        commits = {commit.id: commit for commit in self._commits("--no-patch", *span, *of_paths)}
        order = ("--topo-order", "--reverse", f"--max-count={COMMITS_MAX}", "--format=commit %H")
        shown = ("--patch", "--unified=0", "--no-renames", "--diff-merges=first-parent", *_DIFF)
        output = self._git("log", *order, *shown, *span, *of_paths)
        return [
            CommitDiff(commit=commits[id], removed=removed, added=added, joins=commits[id].is_merge)
            for id, removed, added in _line_keys(output)
            if id in commits
        ]

    def _commits(self, *arguments: str) -> Iterator[Commit]:
        limit = f"--max-count={COMMITS_MAX}"
        output = self._git("log", "-z", "--no-decorate", "--no-notes", _COMMIT, limit, *arguments)
        fields = output.decode(errors="replace").split("\0")
        for place in range(0, len(fields) - _COMMIT_FIELDS + 1, _COMMIT_FIELDS):
            id, parents, author, committer, committed_s, message = fields[place : place + _COMMIT_FIELDS]
            yield Commit(
                id=id,
                parents=tuple(parents.split()),
                author=author.lower(),
                committer=committer.lower(),
                committed_s=int(committed_s),
                message=message,
            )

    def _git(self, command: str, *arguments: str, stdin: str = "") -> bytes:
        """The output of one command. Raises `GitFailed`."""
        environment = {"PATH": os.defpath, "HOME": "/nonexistent", **_ENVIRONMENT}
        whole = (_program(), "--no-pager", "-C", str(self._path), *_SAFE, command, *arguments)
        with tempfile.TemporaryFile() as given:
            given.write(stdin.encode())
            given.seek(0)
            with subprocess.Popen(
                whole, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            ) as process:
                assert process.stdout is not None
                timer = threading.Timer(COMMAND_S_MAX, process.kill)
                timer.start()
                output = process.stdout.read(OUTPUT_BYTES_MAX + 1)
                if len(output) > OUTPUT_BYTES_MAX:
                    process.kill()  # it waits for somebody to read on
                code = process.wait()
                timer.cancel()
        if len(output) > OUTPUT_BYTES_MAX:
            raise GitFailed(f"git {command}: more than {OUTPUT_BYTES_MAX} bytes")
        if code:
            raise GitFailed(f"git {command}: ended with {code}")
        return output


def _program() -> str:
    program = shutil.which("git")
    if program is None:
        raise GitFailed("git: not installed")
    return program


def _checked(id: str) -> str:
    """An object's id. Anything else could be an option, or name another object tomorrow."""
    if not _ID.match(id):
        raise GitFailed("not the id of a git object")
    return id


def _raw_changes(output: str) -> Iterator[FileChange]:
    """Reads `git diff-tree --raw -z` (git-diff-tree(1), "RAW OUTPUT FORMAT")."""
    fields = iter(output.split("\0"))
    for header in fields:
        if not header.startswith(":"):
            continue
        _, mode, old_blob, blob, status = header[1:].split(" ")
        old_path = next(fields)
        path = next(fields) if status[0] in "RC" else old_path
        yield FileChange(
            status=status[0],
            old_path=old_path,
            path=path,
            old_blob=old_blob,
            blob=blob,
            is_file=mode in _FILE_MODES,
        )


def _line_keys(output: bytes) -> Iterator[tuple[str, frozenset[str], frozenset[str]]]:
    """Reads `git log -p`. The numbers of each hunk say which lines are a file's, whatever these look like."""
    id, removed, added = "", set[str](), set[str]()
    old_left = new_left = 0
    for line in output.split(b"\n"):
        mark, text = line[:1], line[1:]
        if old_left > 0 and mark == b"-":
            old_left -= 1
            removed.add(line_key(text.decode(errors="replace")))
        elif new_left > 0 and mark == b"+":
            new_left -= 1
            added.add(line_key(text.decode(errors="replace")))
        elif (old_left > 0 or new_left > 0) and mark == b" ":
            old_left, new_left = old_left - 1, new_left - 1
        elif hunk := _HUNK.match(line):
            old_left, new_left = (int(count or 1) for count in (hunk[1], hunk[2]))
        elif line.startswith(b"commit "):
            if id:
                yield id, frozenset(removed), frozenset(added)
            id, removed, added = line[7:].decode(), set(), set()
    if id:
        yield id, frozenset(removed), frozenset(added)
