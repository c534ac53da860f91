"""Copies a ledger to one file and back: SQLite by its online backup, Postgres by pg_dump and pg_restore.

A copy is complete or absent (draft, fsync, rename), only its owner can read it, and it is read once in full
before it is renamed.
"""

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, inspect, make_url, text
from sqlalchemy.exc import DBAPIError

from ledger.errors import NoCopy
from ledger.files import file_of_url
from ledger.schema import metadata

TRIES_S_MAX = 30.0
"""Seconds that a copy waits for locks of others."""

_PROGRAM_S_MAX = 6 * 3600.0
_DUMPED = "PGDMP"  # first bytes of pg_dump's custom format
_ROWS_FOLLOW, _ROWS_END = b" FROM stdin;\n", b"\\.\n"  # around the rows of a table in its script


def is_sqlite(url: str) -> bool:
    """Whether the ledger is an SQLite file."""
    return make_url(url).get_backend_name() == "sqlite"


def path_of(url: str) -> Path:
    """The file of an SQLite ledger, also where its URL names it as `file:PATH?…`."""
    path = file_of_url(url)
    assert path is not None, "a ledger in memory is not copied"
    return path


def url_of(path: Path) -> str:
    """The URL of an SQLite ledger in that file; its name may have any characters."""
    return URL.create("sqlite", database=str(path)).render_as_string()


def write(url: str, file: Path) -> None:
    """Write the ledger to `file` and check it. Roles may go on meanwhile. Raises `NoCopy`."""
    if file.exists():
        raise NoCopy(f"{file} exists already")
    draft = file.with_name(f".{file.name}.draft")
    draft.unlink(missing_ok=True)
    try:
        draft.touch(mode=0o600)
        if is_sqlite(url):
            _copy_sqlite(path_of(url), draft)
            _make_one_file(draft)
        else:
            _run("pg_dump", url, "--format=custom", "--no-owner", f"--file={draft}")
        check(draft)
        _sync(draft)
        draft.rename(file)
        _sync(file.parent)
    except OSError as fault:
        raise NoCopy(f"{file}: {fault.strerror or type(fault).__name__}") from None
    finally:
        draft.unlink(missing_ok=True)


def read(file: Path, ledger: Path) -> None:
    """Replace the contents of an SQLite ledger by those of `file`, in one transaction. Raises `NoCopy`."""
    _copy_sqlite(file, ledger)


def read_dump(file: Path, connection: Connection) -> None:
    """Replace the tables of a ledger on Postgres by those of a dump, in the caller's transaction.

    pg_restore only writes the script, because it cannot use the caller's transaction. Raises `NoCopy`; the
    caller must then roll back.
    """
    try:
        connection.execute(text(f"SET LOCAL lock_timeout = {int(TRIES_S_MAX * 1000)}"))
        present_tables = set(inspect(connection).get_table_names())
        # the dump may have fewer of them
        for table in sorted(present_tables & {*metadata.tables, "alembic_version"}):
            connection.execute(text(f'DROP TABLE "{table}" CASCADE'))
        arguments = ("--clean", "--if-exists", "--no-owner", "--file=-", str(file))
        with subprocess.Popen([_program_path("pg_restore"), *arguments], stdout=subprocess.PIPE) as script:
            assert script.stdout is not None
            _run_script(script.stdout, connection.connection.cursor())
        connection.execute(text("RESET search_path"))  # the script empties it
    except DBAPIError as fault:
        raise NoCopy(f"{file.name} was not restored ({type(fault.orig).__name__})") from None
    if script.returncode != 0:
        raise NoCopy(f"pg_restore ended with {script.returncode}")


def check(file: Path) -> None:
    """Read every page or row of the copy. Raises `NoCopy` if one cannot be read."""
    if is_dump(file):
        _run("pg_restore", None, "--file=/dev/null", str(file))
        return
    try:
        with closing(_opened_to_read(file)) as copy:
            check_pages(copy)
    except sqlite3.Error as fault:
        raise NoCopy(f"{file.name} is no sound ledger ({type(fault).__name__})") from None


def check_ledger(url: str) -> None:
    """Check the pages and references of an SQLite ledger (Postgres checks its own). Raises `NoCopy`."""
    if not is_sqlite(url):
        return
    try:
        with closing(sqlite3.connect(path_of(url))) as connection:
            check_pages(connection)
    except sqlite3.Error as fault:
        raise NoCopy(str(fault)) from None


def check_pages(connection: sqlite3.Connection) -> None:
    """Check an SQLite file for damage, and for rows that refer to missing rows. Raises `NoCopy`."""
    [result] = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if result != "ok":
        raise NoCopy(f"damaged: {result}")
    if connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
        raise NoCopy("damaged: a row refers to one that is not there")


def facts(file: Path) -> dict[str, str]:
    """The single values in the copy, with its schema as `revision`. Raises `NoCopy`."""
    if is_dump(file):
        tables = ("--table=facts", "--table=alembic_version")
        script = _run("pg_restore", None, "--data-only", "--file=-", *tables, str(file))
        rows = [line.split("\t") for line in script.splitlines()]
        values = {row[0]: row[1] for row in rows if len(row) == 2}
        [values["revision"]] = [row[0] for row in rows if len(row) == 1 and row[0].isdigit()] or [""]
        return values
    try:
        with closing(_opened_to_read(file)) as copy:
            values = dict(copy.execute("SELECT name, value FROM facts").fetchall())
            [values["revision"]] = copy.execute("SELECT version_num FROM alembic_version").fetchone()
            return values
    except (sqlite3.Error, TypeError) as fault:
        raise NoCopy(f"{file.name} holds no ledger ({type(fault).__name__})") from None


def is_dump(file: Path) -> bool:
    """Whether `file` is a dump of Postgres, not an SQLite file. Raises `NoCopy` if it cannot be read."""
    try:
        with file.open("rb") as opened:
            return opened.read(len(_DUMPED)) == _DUMPED.encode()
    except OSError as fault:
        raise NoCopy(f"{file}: {fault.strerror or type(fault).__name__}") from None


def _opened_to_read(file: Path) -> sqlite3.Connection:
    """Open an SQLite file to read. Its name is quoted: `#`, `?` and `%` have a meaning in a URI."""
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)


def _copy_sqlite(source: Path, target: Path) -> None:
    """Copy a database in one read transaction of `source` and one write transaction of `target`."""
    try:
        with closing(sqlite3.connect(source)) as ours, closing(sqlite3.connect(target)) as copy:
            ours.backup(copy, progress=_time_limit())
    except (sqlite3.Error, TimeoutError) as fault:
        raise NoCopy(f"{source.name} was not copied ({type(fault).__name__})") from None


def _make_one_file(copy: Path) -> None:
    """Turn off the write-ahead log, so that no second file appears when the copy is read."""
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


def _time_limit() -> Callable[[int, int, int], None]:
    """A function that SQLite calls at every try, and that raises `TimeoutError` after `TRIES_S_MAX`."""
    until_s = time.monotonic() + TRIES_S_MAX

    def check_time(status: int, _remaining: int, _total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > until_s:
            raise TimeoutError

    return check_time


def _run_script(lines: Iterable[bytes], cursor: Any) -> None:
    """Run a script that was written for psql: statements, and rows of one table after another."""
    from psycopg import Error  # imported here, so that other commands do not load it

    statements: list[bytes] = []
    remaining_lines = iter(lines)
    try:
        for line in remaining_lines:
            if line.startswith(b"COPY ") and line.endswith(_ROWS_FOLLOW):
                cursor.execute(b"".join(statements))
                statements.clear()
                with cursor.copy(line) as rows:
                    for row in takewhile(lambda row: row != _ROWS_END, remaining_lines):
                        rows.write(row)
            elif not line.startswith(b"\\"):  # psql's own commands
                statements.append(line)
        cursor.execute(b"".join(statements))
    except Error as fault:
        raise NoCopy(f"Postgres refuses the backup ({type(fault).__name__})") from None


def _program_path(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise NoCopy(f"{program} is not on the PATH; install Postgres's client programs")
    return path


def _run(program: str, url: str | None, *arguments: str) -> str:
    """Run a client program of Postgres. Returns what it printed. The password is in its environment, not in
    its arguments, which `ps` shows."""
    path = _program_path(program)
    database_option = [] if url is None else [f"--dbname={_conninfo(make_url(url))}"]
    environment = dict(os.environ) | {"PGOPTIONS": f"-c lock_timeout={int(TRIES_S_MAX * 1000)}"}
    if url is not None and make_url(url).password is not None:
        environment["PGPASSWORD"] = str(make_url(url).password)
    result = subprocess.run(
        [path, *database_option, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_PROGRAM_S_MAX,
        check=False,
    )
    if result.returncode != 0:
        [line, *_] = result.stderr.strip().splitlines() or ["it printed nothing"]
        way_out = "; install newer Postgres client programs" if "unsupported version" in line else ""
        raise NoCopy(f"{program} ended with {result.returncode}: {line[:300]}{way_out}")
    return result.stdout


def _conninfo(url: URL) -> str:
    from psycopg.conninfo import make_conninfo  # imported here, so that other commands do not load it

    known = {"host": url.host, "port": url.port, "user": url.username, "dbname": url.database}
    given = {name: str(value) for name, value in {**known, **url.query}.items() if value is not None}
    return str(make_conninfo("", **given))


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
