"""A base that was read is known again, and never taken for what it no longer is."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import base_memory
from engine.base_files import base_hash, hash_of_files


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that count as untouched for long, in a process that knows nothing yet."""
    monkeypatch.setattr(base_memory, "_known", {})
    monkeypatch.setattr(base_memory, "CALM_S_MIN", -3600.0)
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights 1")
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were really read."""
    read: list[Path] = []

    def counted(files: list[Path]) -> str:
        read.extend(files)
        return hash_of_files(files)

    monkeypatch.setattr("engine.base_files.hash_of_files", counted)
    return read


def weights(base: Path) -> Path:
    return base / "model.safetensors"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a new process begins."""
    monkeypatch.setattr(base_memory, "_known", {})


def test_what_was_read_is_known_in_this_process_and_the_next(
    base: Path, reads: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = base_hash(base)
    assert (base_hash(base), len(reads)) == (first, 2)
    memory = tmp_path / "not there yet" / "memory.json"
    assert base_memory.keep(memory)
    forget(monkeypatch)
    base_memory.recall(memory)
    assert (base_hash(base), len(reads)) == (first, 2)
    assert [path.name for path in memory.parent.iterdir()] == ["memory.json"]


def overwritten(base: Path) -> None:
    with weights(base).open("r+b") as file:
        file.write(b"weights 2")


def overwritten_and_dated_back(base: Path) -> None:
    seen = weights(base).stat()
    overwritten(base)
    os.utime(weights(base), ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert weights(base).stat().st_mtime_ns == seen.st_mtime_ns


def replaced_and_dated_back(base: Path) -> None:
    seen = weights(base).stat()
    other = base / "other"
    other.write_bytes(b"weights 2")
    os.utime(other, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    other.rename(weights(base))


def one_more(base: Path) -> None:
    (base / "more.safetensors").write_bytes(b"more")


def another_config(base: Path) -> None:
    (base / "config.json").write_text("[]")


@pytest.mark.parametrize(
    "change", [overwritten, overwritten_and_dated_back, replaced_and_dated_back, one_more, another_config]
)
def test_whatever_is_changed_is_read_again(base: Path, change: Callable[[Path], None]) -> None:
    before = base_hash(base)
    time.sleep(0.05)  # a tick of the file system's clock, which `CALM_S_MIN` is there for
    change(base)
    after = base_hash(base)
    assert after != before
    assert after == hash_of_files([base / "config.json", *sorted(base.glob("*.safetensors"))])


def test_files_touched_a_moment_ago_are_read_again(
    base: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_memory, "CALM_S_MIN", 3600.0)
    assert base_hash(base) == base_hash(base)
    assert len(reads) == 4
    assert base_memory.keep(base.parent / "store" / "memory.json")
    assert not (base.parent / "store").exists(), "there is nothing to keep"


def test_files_that_change_while_they_are_read_have_no_hash(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(files: list[Path]) -> str:
        found = hash_of_files(files)
        one_more(base)
        overwritten(base)
        return found

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
def test_a_memory_that_makes_no_sense_says_nothing(
    base: Path,
    reads: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: bytes | dict[str, object],
) -> None:
    first, memory = base_hash(base), tmp_path / "memory.json"
    base_memory.keep(memory)
    said = json.loads(memory.read_text())
    memory.write_bytes(json.dumps(said | damage).encode() if isinstance(damage, dict) else damage)
    forget(monkeypatch)
    base_memory.recall(memory)
    assert (base_hash(base), len(reads)) == (first, 4)


def test_a_store_that_cannot_be_written_is_no_fault(base: Path) -> None:
    base_hash(base)
    assert not base_memory.keep(base / "config.json" / "memory.json")
    base_memory.recall(base / "missing")
