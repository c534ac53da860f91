"""The ledger's URL and its files on SQLite: where they are, who may read them, whether the disk is fit."""

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from ledger.errors import LedgerRefused

_DRIVERS = ("sqlite+pysqlite", "postgresql+psycopg")
_MODE = 0o600  # of the ledger and what SQLite keeps beside it: people's texts and the key of fingerprints
_BESIDE = ("", "-wal", "-shm", "-journal")
_MOUNTS = Path("/proc/self/mounts")


def require_driver(url: str) -> None:
    """Raises `ValueError`, without parts of the URL, if clorad has no driver for the database in it."""
    try:
        dialect = make_url(url).get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError, ImportError):
        dialect = None
    if dialect is None or f"{dialect.name}+{dialect.driver}" not in _DRIVERS:
        raise ValueError("must be sqlite:///path or postgresql+psycopg://user@host/database")


def without_password(url: str) -> str:
    """The ledger's URL with its password masked, for people."""
    return make_url(url).render_as_string(hide_password=True)


def file_of_url(url: str) -> Path | None:
    """The file of an SQLite ledger; None on Postgres, and if the ledger is in memory."""
    parsed = make_url(url)
    return file_of_sqlite(str(parsed.database or "")) if parsed.get_backend_name() == "sqlite" else None


def file_of_sqlite(database: str) -> Path | None:
    """The file that a URL's database names, also as `file:PATH?…`; None if it is in memory.

    Only after `file:` does SQLite read a query and percent-encoding (https://www.sqlite.org/uri.html).
    """
    path = database
    if database.startswith("file:"):
        path = unquote(database.removeprefix("file:").partition("?")[0])
    return None if path in ("", ":memory:") else Path(path).absolute()


def make_private(path: Path) -> None:
    """The ledger's folder exists, and only the ledger's owner may read the files. Raises `OSError`.

    Files that belong to somebody else stay as they are.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT, _MODE))  # SQLite gives -wal and -shm the same mode
    for suffix in _BESIDE:
        file = path.with_name(path.name + suffix)
        with suppress(FileNotFoundError, PermissionError):
            if file.stat().st_mode & 0o077:
                file.chmod(_MODE)


def use_wal(connection: sqlite3.Connection, *, wait_s_max: float) -> None:
    """The file is in WAL mode. Raises `LedgerRefused` where its file system cannot do that.

    SQLite does not wait for its lock while a file changes over to WAL: who starts together tries again.
    """
    until_s = time.monotonic() + wait_s_max
    while True:
        try:
            (granted,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
            break
        except sqlite3.OperationalError as fault:
            if fault.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > until_s:
                raise
            time.sleep(0.02)
    if granted == "wal" or file_of_sqlite(_main_file(connection)) is None:
        return
    # SQLite raises nothing: it answers the mode that it uses instead (https://sqlite.org/wal.html, 2.1).
    path = Path(_main_file(connection))
    raise LedgerRefused(
        f"SQLite cannot keep a write-ahead log for {path} (it answers {granted!r}): the file system there"
        f" ({file_system_of(path)}) has no shared memory for it. Use a local disk, or Postgres"
    )


def file_system_of(path: Path) -> str:
    """The type of the file system that holds the path, as /proc/self/mounts names it; else `unknown`."""
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return "unknown"
    mounts = [line.split(" ")[1:3] for line in lines]
    around = [(folder, kind) for folder, kind in mounts if path.is_relative_to(folder.replace("\\040", " "))]
    return max(around, key=lambda mount: len(mount[0]), default=("", "unknown"))[1]


def _main_file(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA database_list").fetchone()[2])
