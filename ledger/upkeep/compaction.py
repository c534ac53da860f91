"""Rewrites the database's files: nothing deleted or forgotten is left in them, and space is freed."""

import sqlite3
from contextlib import closing

from sqlalchemy import create_engine, text

from ledger.database import BUSY_MS_MAX
from ledger.errors import LedgerUnavailable
from ledger.schema import metadata
from ledger.upkeep import copies


def flush(url: str) -> bool:
    """SQLite's write-ahead log is in the file and empty. False where a reader kept it from being emptied.

    Postgres keeps its own for as long as its settings say.
    """
    if not copies.is_sqlite(url):
        return True
    with closing(_opened(url)) as connection:
        [busy, _, _] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def rewrite(url: str) -> None:
    """Every page or row that is still needed is written anew, and the old ones are gone.

    Nobody writes meanwhile, and on Postgres nobody reads a table just then; room for a second copy is needed.
    Raises `LedgerUnavailable` where somebody else would not let go.
    """
    try:
        if copies.is_sqlite(url):
            with closing(_opened(url)) as connection:
                connection.execute("VACUUM")
            flush(url)
        else:
            _rewrite_postgres(url)
    except sqlite3.OperationalError as fault:
        raise LedgerUnavailable(fault.sqlite_errorname) from None


def _opened(url: str) -> sqlite3.Connection:
    connection = sqlite3.connect(copies.path_of(url), isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS_MAX}")
    return connection


def _rewrite_postgres(url: str) -> None:
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            for table in metadata.sorted_tables:
                connection.execute(text(f'VACUUM FULL "{table.name}"'))
    finally:
        engine.dispose()
