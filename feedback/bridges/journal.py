"""Remembers what each annotation became, in a file: what was sent is neither read nor sent again.

The file is written after Kafka has the event. Where it is lost, everything is sent once more under the same
ids, and counts once.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

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
    """One file, of which one process has the only handle. Raises `OSError`."""

    def __init__(self, path: Path) -> None:
        self._entries = _read(path)
        path.parent.mkdir(parents=True, exist_ok=True)
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
        return self._entries.get(name)

    def note(self, entry: JournalEntry) -> None:
        """Remember it; afterwards the disk has it."""
        self._entries[entry.name] = entry
        self._file.write(_line(entry))
        self._file.flush()
        os.fsync(self._file.fileno())


def _read(path: Path) -> dict[str, JournalEntry]:
    """The last entry of each name, without a line that a crash cut off."""
    entries: dict[str, JournalEntry] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
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
