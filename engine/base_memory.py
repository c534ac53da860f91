"""Hashes of files that were read before and have not been touched since, in this process or on this machine.

Untouched means: same path, inode, size, and times of the last write and the last change, to the nanosecond.
The last cannot be set: copies that keep the time of writing (`cp -p`, rsync) change it all the same.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

CALM_S_MIN = 2.0
"""Files touched less long ago are read again next time: within one tick of a file system's clock two writes
look like one."""

REMEMBERED_MAX = 8

_FORMAT = 1

Stamps = tuple[tuple[str, int, int, int, int], ...]
"""Of each file: path, inode, size, time of the last write and of the last change, in ns."""

_known: dict[Stamps, str] = {}


def known_or(files: Sequence[Path], read: Callable[[], str]) -> str:
    """The hash `read` gave for these files as they are. Raises `ValueError` where they change meanwhile."""
    stamps = stamps_of(files)
    if (known := _known.get(stamps)) is not None:
        return known
    began_s = time.time()
    found = read()
    if stamps_of(files) != stamps:
        raise ValueError(f"{files[0].parent} changed while it was read")
    if max(max(written, changed) for *_, written, changed in stamps) / 1e9 < began_s - CALM_S_MIN:
        _known[stamps] = found
    return found


def stamps_of(files: Iterable[Path]) -> Stamps:
    """What is compared. Links are followed: what they lead to is what is read."""
    found = []
    for path in files:
        seen = path.stat()
        found.append((str(path.resolve()), seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))
    return tuple(found)


def recall(memory: Path) -> None:
    """What was kept in the file is known from now on. One that is missing or makes no sense says nothing."""
    try:
        said = json.loads(memory.read_bytes())
        if said["format"] == _FORMAT:
            for one in said["known"]:
                files = tuple(
                    (str(path), int(inode), int(size), int(written_ns), int(changed_ns))
                    for path, inode, size, written_ns, changed_ns in one["files"]
                )
                if re.fullmatch("[0-9a-f]{64}", one["sha256"]):
                    _known.setdefault(files, one["sha256"])
    except (OSError, ValueError, LookupError, TypeError):
        return


def keep(memory: Path) -> bool:
    """What is known is in the file, for processes to come. False where it cannot be written: they read."""
    newest = list(_known.items())[-REMEMBERED_MAX:]
    if not newest:
        return True
    said = {"format": _FORMAT, "known": [{"files": files, "sha256": found} for files, found in newest]}
    draft = memory.with_name(f"{memory.name}.{secrets.token_hex(4)}")
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(said))
        draft.replace(memory)
    except OSError:
        return False
    return True
