"""A ledger in one file, and back: SQLite by its online backup, Postgres by pg_dump and pg_restore.

Copies are complete or absent (draft, fsync, rename), readable by their owner only, and read once in full
before they count.
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
from ledger.schema import metadata

TRIES_S_MAX = 30.0
"""How long a copy waits for locks others hold."""

_PROGRAM_S_MAX = 6 * 3600.0
_DUMPED = "PGDMP"  # first bytes of pg_dump's custom format
_ROWS_FOLLOW, _ROWS_END = b" FROM stdin;\n", b"\\.\n"  # around the rows of a table in its script


def is_sqlite(url: str) -> bool:
    """Whether that ledger is a file of SQLite."""
    return make_url(url).get_backend_name() == "sqlite"


def path_of(url: str) -> Path:
    """The file of an SQLite ledger."""
    return Path(str(make_url(url).database))


def url_of(path: Path) -> str:
    """The URL of an SQLite ledger in that file, whatever the file is called."""
    return URL.create("sqlite", database=str(path)).render_as_string()


def write(url: str, file: Path) -> None:
    """The ledger as of now is in `file` afterwards, sound. Roles may go on meanwhile. Raises `NoCopy`."""
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
    """The ledger of SQLite is what `file` holds, in one transaction or not at all. Raises `NoCopy`."""
    _copy_sqlite(file, ledger)


def read_dump(file: Path, connection: Connection) -> None:
    """The tables of a dump take the place of those that were there, in the caller's transaction on Postgres.

    pg_restore only writes the script: a transaction of its own could not be ours. Raises `NoCopy`; what was
    done so far must then be rolled back.
    """
    try:
        connection.execute(text(f"SET LOCAL lock_timeout = {int(TRIES_S_MAX * 1000)}"))
        there = set(inspect(connection).get_table_names())
        for table in sorted(there & {*metadata.tables, "alembic_version"}):  # the dump may know fewer of them
            connection.execute(text(f'DROP TABLE "{table}" CASCADE'))
        arguments = ("--clean", "--if-exists", "--no-owner", "--file=-", str(file))
        with subprocess.Popen([_found("pg_restore"), *arguments], stdout=subprocess.PIPE) as script:
            assert script.stdout is not None
            _run_script(script.stdout, connection.connection.cursor())
        connection.execute(text("RESET search_path"))  # the script empties it
    except DBAPIError as fault:
        raise NoCopy(f"{file.name} was not restored ({type(fault.orig).__name__})") from None
    if script.returncode != 0:
        raise NoCopy(f"pg_restore ended with {script.returncode}")


def check(file: Path) -> None:
    """Every page or row of the copy can be read. Raises `NoCopy` where not."""
    if is_dump(file):
        _run("pg_restore", None, "--file=/dev/null", str(file))
        return
    try:
        with closing(_opened_to_read(file)) as copy:
            check_pages(copy)
    except sqlite3.Error as fault:
        raise NoCopy(f"{file.name} is no sound ledger ({type(fault).__name__})") from None


def check_pages(connection: sqlite3.Connection) -> None:
    """SQLite finds no damage and no row without what it refers to. Raises `NoCopy`."""
    [found] = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise NoCopy(f"damaged: {found}")
    if connection.execute("PRAGMA foreign_key_check").fetchone() is not None:
        raise NoCopy("damaged: a row refers to one that is not there")


def facts(file: Path) -> dict[str, str]:
    """The single values the copy holds: who the ledger is, which schema it has. Raises `NoCopy`."""
    if is_dump(file):
        tables = ("--table=facts", "--table=alembic_version")
        script = _run("pg_restore", None, "--data-only", "--file=-", *tables, str(file))
        rows = [line.split("\t") for line in script.splitlines()]
        found = {row[0]: row[1] for row in rows if len(row) == 2}
        [found["revision"]] = [row[0] for row in rows if len(row) == 1 and row[0].isdigit()] or [""]
        return found
    try:
        with closing(_opened_to_read(file)) as copy:
            found = dict(copy.execute("SELECT name, value FROM facts").fetchall())
            [found["revision"]] = copy.execute("SELECT version_num FROM alembic_version").fetchone()
            return found
    except (sqlite3.Error, TypeError) as fault:
        raise NoCopy(f"{file.name} holds no ledger ({type(fault).__name__})") from None


def is_dump(file: Path) -> bool:
    """Whether `file` is a dump of Postgres rather than a file of SQLite. Raises `NoCopy` where unreadable."""
    try:
        with file.open("rb") as opened:
            return opened.read(len(_DUMPED)) == _DUMPED.encode()
    except OSError as fault:
        raise NoCopy(f"{file}: {fault.strerror or type(fault).__name__}") from None


def _opened_to_read(file: Path) -> sqlite3.Connection:
    """In a URI `#`, `?` and `%` of a file's name would mean something else."""
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)


def _copy_sqlite(source: Path, target: Path) -> None:
    """One read transaction there, one write transaction here."""
    try:
        with closing(sqlite3.connect(source)) as ours, closing(sqlite3.connect(target)) as copy:
            ours.backup(copy, progress=_patience())
    except (sqlite3.Error, TimeoutError) as fault:
        raise NoCopy(f"{source.name} was not copied ({type(fault).__name__})") from None


def _make_one_file(copy: Path) -> None:
    """No write-ahead log lies beside it, now or when it is only looked at."""
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")


def _patience() -> Callable[[int, int, int], None]:
    """Called at every try, and ends them with `TimeoutError`."""
    until_s = time.monotonic() + TRIES_S_MAX

    def look(status: int, _remaining: int, _total: int) -> None:
        if status in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and time.monotonic() > until_s:
            raise TimeoutError

    return look


def _run_script(lines: Iterable[bytes], cursor: Any) -> None:
    """Do what a script written for psql says: statements, and the rows of one table after another."""
    from psycopg import Error  # reading commands need not pay for it

    statements: list[bytes] = []
    reading = iter(lines)
    try:
        for line in reading:
            if line.startswith(b"COPY ") and line.endswith(_ROWS_FOLLOW):
                cursor.execute(b"".join(statements))
                statements.clear()
                with cursor.copy(line) as rows:
                    for row in takewhile(lambda row: row != _ROWS_END, reading):
                        rows.write(row)
            elif not line.startswith(b"\\"):  # psql's own commands
                statements.append(line)
        cursor.execute(b"".join(statements))
    except Error as fault:
        raise NoCopy(f"Postgres refuses the backup ({type(fault).__name__})") from None


def _found(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise NoCopy(f"{program} is not on the PATH; install Postgres's client programs")
    return found


def _run(program: str, url: str | None, *arguments: str) -> str:
    """What one of Postgres's own programs printed. The password travels in the environment, not in `ps`."""
    found = _found(program)
    named = [] if url is None else [f"--dbname={_conninfo(make_url(url))}"]
    environment = dict(os.environ) | {"PGOPTIONS": f"-c lock_timeout={int(TRIES_S_MAX * 1000)}"}
    if url is not None and make_url(url).password is not None:
        environment["PGPASSWORD"] = str(make_url(url).password)
    done = subprocess.run(
        [found, *named, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_PROGRAM_S_MAX,
        check=False,
    )
    if done.returncode != 0:
        [line, *_] = done.stderr.strip().splitlines() or ["it printed nothing"]
        way_out = "; install newer Postgres client programs" if "unsupported version" in line else ""
        raise NoCopy(f"{program} ended with {done.returncode}: {line[:300]}{way_out}")
    return done.stdout


def _conninfo(url: URL) -> str:
    from psycopg.conninfo import make_conninfo  # reading commands need not pay for it

    known = {"host": url.host, "port": url.port, "user": url.username, "dbname": url.database}
    given = {name: str(value) for name, value in {**known, **url.query}.items() if value is not None}
    return str(make_conninfo("", **given))


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
