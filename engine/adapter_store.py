"""The adapter store's folders by name: versions, drafts of turns, and what is on its way out.

What goes is renamed first, to a name that nobody takes for a version, so that no reader meets half of one.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_VERSION = re.compile(r"v(?P<number>[1-9][0-9]*)-[0-9a-f]{6}")
_DRAFT = re.compile(r"\.draft-(?P<turn>[0-9]+)-(?P<token>[0-9]+)")
_GOING = ".going-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """One folder of an agent's, as its name tells. Exactly one of the three is not None, or `is_going`."""

    path: Path
    number: int | None = None  # a version's
    draft: tuple[int, int] | None = None  # the turn's, and the fencing token it is written under
    is_going: bool = False


def draft_of(store: Path, agent: str, *, turn_id: int, token: int) -> Path:
    """Where a turn's version is written: of each holder of the agent's lease, a folder of its own."""
    return store / agent / f".draft-{turn_id}-{token}"


def folders(store: Path, agent: str) -> Iterator[Folder]:
    """An agent's folders that we made, by name; none where it has no version yet. Raises `OSError`."""
    place = store / agent
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if found := _VERSION.fullmatch(path.name):
            yield Folder(path=path, number=int(found["number"]))
        elif found := _DRAFT.fullmatch(path.name):
            yield Folder(path=path, draft=(int(found["turn"]), int(found["token"])))
        elif path.name.startswith(_GOING):
            yield Folder(path=path, is_going=True)


def set_aside(path: Path) -> Path:
    """The folder has a name under which nobody looks for it."""
    aside = path.with_name(f"{_GOING}{path.name.lstrip('.')}")
    if aside.exists():  # somebody was killed while removing one of that name
        shutil.rmtree(aside)
    return path.rename(aside)


def remove(path: Path) -> None:
    """The folder is gone. Raises `OSError`; part of it may be gone then."""
    shutil.rmtree(path)


def size_bytes(path: Path) -> int:
    """Of the files in it."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def touched_s(path: Path) -> float:
    """When it or a file in it was last written, by the store's clock."""
    return max(one.stat().st_mtime for one in (path, *path.iterdir()))
