"""The ledger's files: only their owner reads them, and a disk without a write-ahead log is refused."""

import os
from pathlib import Path

import pytest

from ledger import facts
from ledger.database import Database
from ledger.errors import LedgerRefused
from ledger.files import file_of_sqlite, file_system_of


def modes(folder: Path) -> dict[str, str]:
    return {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()}


@pytest.fixture
def umask_022():
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_a_disk_without_a_write_ahead_log_is_refused_with_its_file_system(tmp_path: Path) -> None:
    # SQLite's unix-dotfile locking has no shared memory, as a network file system has none.
    database = Database(f"sqlite:///file:{tmp_path}/clorad.db?vfs=unix-dotfile&uri=true")
    with pytest.raises(LedgerRefused, match="answers 'delete'") as refusal:
        database.migrate()
    assert str(tmp_path / "clorad.db") in str(refusal.value)
    assert f"({file_system_of(tmp_path)})" in str(refusal.value)
    for begin in (database.read, database.write):
        with pytest.raises(LedgerRefused), begin():
            pass
    database.close()


def test_a_ledger_in_memory_needs_no_write_ahead_log() -> None:
    database = Database("sqlite:///:memory:")
    database.migrate()
    database.close()


def test_only_the_owner_can_read_a_new_ledger(tmp_path: Path, umask_022: None) -> None:
    database = Database(f"sqlite:///{tmp_path}/new/clorad.db")
    database.migrate()
    with database.write() as connection:
        facts.set_fact(connection, "x", "1")
        assert modes(tmp_path / "new") == {
            "clorad.db": "0o600",
            "clorad.db-shm": "0o600",
            "clorad.db-wal": "0o600",
        }
    assert modes(tmp_path) == {"new": "0o700"}
    database.close()


def test_a_ledger_that_others_can_read_is_closed_to_them_at_the_start(
    tmp_path: Path, umask_022: None
) -> None:
    path = tmp_path / "clorad.db"
    before = Database(f"sqlite:///{path}")
    before.migrate()
    for file in tmp_path.iterdir():
        file.chmod(0o644)
    starting = Database(f"sqlite:///{path}")
    starting.migrate()
    assert set(modes(tmp_path).values()) == {"0o600"}
    before.close()
    starting.close()


@pytest.mark.parametrize(
    ("database", "path"),
    [
        ("", None),
        (":memory:", None),
        ("file::memory:?cache=shared", None),
        ("/a/b.db", Path("/a/b.db")),
        ("file:/a/b.db?mode=rw", Path("/a/b.db")),
    ],
)
def test_the_file_that_a_url_names(database: str, path: Path | None) -> None:
    assert file_of_sqlite(database) == path


def test_a_path_has_the_file_system_of_the_mount_around_it() -> None:
    assert file_system_of(Path("/proc/self")) == "proc"
