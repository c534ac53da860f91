"""The hash of an unchanged base is remembered; a changed base is read again."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import file_hash_cache
from engine.base_files import base_hash, hash_of_files


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that count as unchanged, in a process whose cache is empty."""
    monkeypatch.setattr(file_hash_cache, "_hashes", {})
    monkeypatch.setattr(file_hash_cache, "UNCHANGED_S_MIN", -3600.0)
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights 1")
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read."""
    read: list[Path] = []

    def counted(files: list[Path]) -> str:
        read.extend(files)
        return hash_of_files(files)

    monkeypatch.setattr("engine.base_files.hash_of_files", counted)
    return read


def weights(base: Path) -> Path:
    return base / "model.safetensors"


def clear_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty the cache in memory, as in a new process."""
    monkeypatch.setattr(file_hash_cache, "_hashes", {})


def test_a_hash_is_remembered_in_this_process_and_the_next(
    base: Path, reads: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = base_hash(base)
    assert (base_hash(base), len(reads)) == (first, 2)
    cache = tmp_path / "not there yet" / "memory.json"
    assert file_hash_cache.save(cache)
    clear_cache(monkeypatch)
    file_hash_cache.load(cache)
    assert (base_hash(base), len(reads)) == (first, 2)
    assert [path.name for path in cache.parent.iterdir()] == ["memory.json"]


def overwrite(base: Path) -> None:
    with weights(base).open("r+b") as file:
        file.write(b"weights 2")


def overwrite_and_restore_mtime(base: Path) -> None:
    status = weights(base).stat()
    overwrite(base)
    os.utime(weights(base), ns=(status.st_atime_ns, status.st_mtime_ns))
    assert weights(base).stat().st_mtime_ns == status.st_mtime_ns


def replace_and_restore_mtime(base: Path) -> None:
    status = weights(base).stat()
    other = base / "other"
    other.write_bytes(b"weights 2")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(weights(base))


def add_weights(base: Path) -> None:
    (base / "more.safetensors").write_bytes(b"more")


def change_config(base: Path) -> None:
    (base / "config.json").write_text("[]")


@pytest.mark.parametrize(
    "change", [overwrite, overwrite_and_restore_mtime, replace_and_restore_mtime, add_weights, change_config]
)
def test_a_changed_file_is_read_again(base: Path, change: Callable[[Path], None]) -> None:
    before = base_hash(base)
    time.sleep(0.05)  # longer than a tick of the file system's clock
    change(base)
    after = base_hash(base)
    assert after != before
    assert after == hash_of_files([base / "config.json", *sorted(base.glob("*.safetensors"))])


def test_files_that_changed_a_moment_ago_are_read_again(
    base: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_hash_cache, "UNCHANGED_S_MIN", 3600.0)
    assert base_hash(base) == base_hash(base)
    assert len(reads) == 4
    assert file_hash_cache.save(base.parent / "store" / "memory.json")
    assert not (base.parent / "store").exists(), "nothing is remembered"


def test_files_that_change_while_they_are_read_have_no_hash(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(files: list[Path]) -> str:
        sha256 = hash_of_files(files)
        add_weights(base)
        overwrite(base)
        return sha256

    monkeypatch.setattr("engine.base_files.hash_of_files", torn)
    with pytest.raises(ValueError, match="changed while it was read"):
        base_hash(base)


@pytest.mark.parametrize(
    "damage",
    [
        b"no json",
        b"[]",
        b"{}",
        {"format": 2},
        {"known": [{"files": [["x"]], "sha256": "a" * 64}]},
        {"known": [{"files": [], "sha256": 7}]},
        {"known": "all of it"},
    ],
)
def test_a_cache_file_that_is_unreadable_is_ignored(
    base: Path,
    reads: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: bytes | dict[str, object],
) -> None:
    first, cache = base_hash(base), tmp_path / "memory.json"
    file_hash_cache.save(cache)
    content = json.loads(cache.read_text())
    cache.write_bytes(json.dumps(content | damage).encode() if isinstance(damage, dict) else damage)
    clear_cache(monkeypatch)
    file_hash_cache.load(cache)
    assert (base_hash(base), len(reads)) == (first, 4)


def test_a_cache_file_that_cannot_be_written_is_no_error(base: Path) -> None:
    base_hash(base)
    assert not file_hash_cache.save(base / "config.json" / "memory.json")
    file_hash_cache.load(base / "missing")
