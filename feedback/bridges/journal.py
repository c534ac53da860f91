"""Remembers what each annotation became, in a file: what was sent is neither read nor sent again.

The file is written after Kafka has the event. Where it is lost, everything is sent once more under the same
ids, and counts once. It has names of authors, which a retraction must give, and no texts.
"""

import fcntl
import json
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SUFFIX = ".jsonl"

FORGOTTEN = "forgotten"
"""The fate of an annotation whose author was forgotten. It is not sent again until somebody changes it."""

ENTRIES_MAX = 200_000
"""Annotations that are remembered; beyond, the oldest are forgotten when the bridge starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """What became of one annotation when it was last read."""

    name: str
    revised: str  # when the tool changed it, as the tool says it
    fate: str
    id: str | None = None  # of its event, with what a retraction of the event must name
    kind: str | None = None
    agent: str | None = None
    author: str | None = None


class SentJournal:
    """One file, to which one process writes; `forget_authors` of another may rewrite it. Raises `OSError`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            self._entries = _read(path)
            _rewrite(path, self._entries)
            self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def entry(self, name: str) -> JournalEntry | None:
        """What became of the annotation of this name."""
        if self._is_rewritten():
            with _locked(self._path):
                self._read_again()
        return self._entries.get(name)

    def note(self, entry: JournalEntry) -> None:
        """Remember it; afterwards the disk has it."""
        with _locked(self._path):
            if self._is_rewritten():
                self._read_again()
            self._entries[entry.name] = entry
            self._file.write(_line(entry))
            self._file.flush()
            os.fsync(self._file.fileno())

    def _is_rewritten(self) -> bool:
        """Whether another process put another file in its place. One that was deleted is written again."""
        try:
            return self._path.stat().st_ino != os.fstat(self._file.fileno()).st_ino
        except FileNotFoundError:
            return True

    def _read_again(self) -> None:
        if self._path.exists():
            self._entries = _read(self._path)
        self._file.close()
        self._file = self._path.open("a", encoding="utf-8")


def forget_authors(folder: Path, names: Collection[str], *, dry_run: bool = False) -> int:
    """Take these authors out of all journals in the folder. Returns how many entries had one of them.

    A bridge that runs notices it before it reads or writes its journal the next time. Raises `OSError`.
    """
    number = 0
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with _locked(path):
            entries = _read(path)
            of_them = [entry for entry in entries.values() if entry.author in names]
            number += len(of_them)
            if of_them and not dry_run:
                entries |= {entry.name: _without_author(entry) for entry in of_them}
                _rewrite(path, entries)
    return number


def _without_author(entry: JournalEntry) -> JournalEntry:
    """The entry as it is remembered so that its annotation is not sent again."""
    return JournalEntry(name=entry.name, revised=entry.revised, fate=FORGOTTEN)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Nobody else writes this journal meanwhile. The lock is a file beside it: the journal is replaced."""
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> dict[str, JournalEntry]:
    """The last entry of each name, without a line that a crash cut off."""
    entries: dict[str, JournalEntry] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")  # names may hold U+2028
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            entry = JournalEntry(**json.loads(line))
        except (ValueError, TypeError):
            continue
        entries.pop(entry.name, None)  # so that the newest come last
        entries[entry.name] = entry
    return dict(list(entries.items())[-ENTRIES_MAX:])


def _rewrite(path: Path, entries: dict[str, JournalEntry]) -> None:
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w", encoding="utf-8") as file:
        file.writelines(map(_line, entries.values()))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _line(entry: JournalEntry) -> str:
    return json.dumps(asdict(entry), ensure_ascii=False) + "\n"
