"""Rewrites the database's files, so that they have no deleted or forgotten rows and free space is
returned."""

import sqlite3
from contextlib import closing

from sqlalchemy import create_engine, text

from ledger.database import BUSY_MS_MAX
from ledger.errors import LedgerUnavailable
from ledger.schema import metadata
from ledger.upkeep import copies


def flush(url: str) -> bool:
    """Move SQLite's write-ahead log into the file and empty it. False if a reader prevented that.

    The settings of Postgres say how long it keeps its own log.
    """
    if not copies.is_sqlite(url):
        return True
    with closing(_opened(url)) as connection:
        [busy, _, _] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def rewrite(url: str) -> None:
    """Write every page or row that is still needed again, and free the old ones.

    Other writers wait meanwhile; on Postgres also readers of the table that is being rewritten. It needs disk
    for a second copy. Raises `LedgerUnavailable` if another process keeps its lock.
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
