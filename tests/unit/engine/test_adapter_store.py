"""Folders of the adapter store are read while learners write them."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine import adapter_store


@contextmanager
def files_coming_and_going(folder: Path) -> Iterator[None]:
    """A thread writes and removes files until the block ends."""
    done = threading.Event()

    def write_and_remove() -> None:
        while not done.is_set():
            for number in range(20):
                (folder / f"{number}.bin").write_bytes(b"12")
            for number in range(20):
                (folder / f"{number}.bin").unlink()

    thread = threading.Thread(target=write_and_remove)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_file_that_is_removed_between_listing_and_reading_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"w" * 1000)
    with files_coming_and_going(tmp_path):
        sizes = {adapter_store.size_bytes(tmp_path) for _ in range(500)}
    assert min(sizes) >= 1000
    assert max(sizes) <= 1040
    assert adapter_store.size_bytes(tmp_path) == 1000


def test_a_file_that_is_removed_meanwhile_does_not_change_when_a_folder_was_written(tmp_path: Path) -> None:
    began_s = time.time() - 1.0
    with files_coming_and_going(tmp_path):
        times_s = [adapter_store.last_written_s(tmp_path) for _ in range(500)]
    assert all(began_s <= time_s < math.inf for time_s in times_s)


def test_a_folder_that_is_gone_was_written_never_long_ago(tmp_path: Path) -> None:
    assert adapter_store.last_written_s(tmp_path / "gone") == math.inf
    assert adapter_store.size_bytes(tmp_path / "gone") == 0
