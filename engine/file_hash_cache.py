"""A cache of file hashes, in this process and in a file: unchanged files are not read again.

Unchanged means: same path, inode and size, and the same times of the last write (mtime) and the last change
(ctime), to the nanosecond. No program can set ctime: a copy that keeps mtime (`cp -p`, rsync) changes ctime.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

UNCHANGED_S_MIN = 2.0
"""Files that changed later than this are not remembered: within one tick of a file system's clock two writes
have the same time."""

ENTRIES_MAX = 8

_FORMAT = 1

Stamps = tuple[tuple[str, int, int, int, int], ...]
"""For each file: path, inode, size, time of the last write and of the last change, in ns."""

_hashes: dict[Stamps, str] = {}


def cached_hash(files: Sequence[Path], read: Callable[[], str]) -> str:
    """The files' hash, from the cache or from `read`. Raises `ValueError` if they change meanwhile."""
    stamps = stamps_of(files)
    if (known := _hashes.get(stamps)) is not None:
        return known
    began_s = time.time()
    sha256 = read()
    if stamps_of(files) != stamps:
        raise ValueError(f"{files[0].parent} changed while it was read")
    if max(max(written, changed) for *_, written, changed in stamps) / 1e9 < began_s - UNCHANGED_S_MIN:
        _hashes[stamps] = sha256
    return sha256


def stamps_of(files: Iterable[Path]) -> Stamps:
    """The stamps that are compared. Links are followed, as they are when the file is read."""
    stamps = []
    for path in files:
        status = path.stat()
        stamps.append(
            (str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        )
    return tuple(stamps)


def load(path: Path) -> None:
    """Add the hashes of the cache file. A file that is missing or unreadable is ignored."""
    try:
        content = json.loads(path.read_bytes())
        if content["format"] == _FORMAT:
            for entry in content["known"]:
                files = tuple(
                    (str(name), int(inode), int(size), int(written_ns), int(changed_ns))
                    for name, inode, size, written_ns, changed_ns in entry["files"]
                )
                if re.fullmatch("[0-9a-f]{64}", entry["sha256"]):
                    _hashes.setdefault(files, entry["sha256"])
    except (OSError, ValueError, LookupError, TypeError):
        return


def save(path: Path) -> bool:
    """Write the newest hashes to the cache file, for later processes. False if it cannot be written."""
    newest = list(_hashes.items())[-ENTRIES_MAX:]
    if not newest:
        return True
    content = {"format": _FORMAT, "known": [{"files": files, "sha256": sha256} for files, sha256 in newest]}
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(content))
        draft.replace(path)
    except OSError:
        return False
    return True
