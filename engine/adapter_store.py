"""Names the folders of the adapter store: versions, drafts of turns, and folders that are being removed.

A folder is renamed before it is removed, so that no reader takes a part of it for a version. Learners
write and rename folders at any time, so a file that was listed may be gone when it is read.
"""

import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_VERSION = re.compile(r"v(?P<number>[1-9][0-9]*)-[0-9a-f]{6}")
_DRAFT = re.compile(r"\.draft-(?P<turn>[0-9]+)-(?P<token>[0-9]+)")
_GOING = ".going-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """One folder of an agent, by its name: a version, a draft, or a folder that is being removed."""

    path: Path
    number: int | None = None  # of the version
    draft: tuple[int, int] | None = None  # the turn, and the fencing token of its writer
    is_being_removed: bool = False  # its removal has begun


def draft_of(store: Path, agent: str, *, turn_id: int, token: int) -> Path:
    """The folder in which a turn's version is written; each holder of the agent's lease has its own."""
    return store / agent / f".draft-{turn_id}-{token}"


def folders(store: Path, agent: str) -> Iterator[Folder]:
    """An agent's folders that clorad made, by name; none if it has no version yet. Raises `OSError`."""
    place = store / agent
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if name := _VERSION.fullmatch(path.name):
            yield Folder(path=path, number=int(name["number"]))
        elif name := _DRAFT.fullmatch(path.name):
            yield Folder(path=path, draft=(int(name["turn"]), int(name["token"])))
        elif path.name.startswith(_GOING):
            yield Folder(path=path, is_being_removed=True)


def mark_for_removal(path: Path) -> Path:
    """Rename the folder, so that nobody reads it any more. Returns its new path."""
    aside = path.with_name(f"{_GOING}{path.name.lstrip('.')}")
    if aside.exists():  # a process was killed while it removed a folder of that name
        shutil.rmtree(aside)
    return path.rename(aside)


def remove(path: Path) -> None:
    """Remove the folder. Raises `OSError`; a part of it may be gone then."""
    shutil.rmtree(path)


def size_bytes(path: Path) -> int:
    """Bytes of the files in the folder. A file that is removed meanwhile does not count."""
    total = 0
    for directory, _, names in os.walk(path):
        for name in names:
            with suppress(FileNotFoundError):
                total += (Path(directory) / name).stat().st_size
    return total


def last_written_s(path: Path) -> float:
    """When the folder or a file in it was last written, by the store's clock; infinity if it is gone."""
    times_s: list[float] = []
    with suppress(FileNotFoundError):
        for part in (path, *path.iterdir()):
            with suppress(FileNotFoundError):
                times_s.append(part.stat().st_mtime)
    return max(times_s, default=math.inf)
