"""Opening the ledger for a command: never waiting for it, never making one by looking at it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, make_url

from daemon.console import CommandFailed, byte_size
from daemon.masking import mask
from daemon.settings import Settings
from ledger.database import Database
from ledger.reports import sizes
from ledger.upkeep import compaction


@contextmanager
def reading(settings: Settings) -> Iterator[Connection]:
    """A consistent snapshot of the ledger."""
    with opened(settings) as database, database.read() as connection:
        yield connection


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """The ledger, if there is one."""
    url = make_url(settings.ledger.url)
    path = url.database
    if url.get_backend_name() == "sqlite" and path and path != ":memory:" and not Path(path).is_file():
        raise CommandFailed(
            f"no ledger at {path} (ledger.url); `clorad run` or `clorad ledger migrate` makes one"
        )
    database = Database(settings.ledger.url)
    try:
        yield database
    finally:
        database.close()


def migrate(settings: Settings) -> str:
    """The ledger exists at the newest schema. Returns what was done, for a person."""
    database = Database(settings.ledger.url)
    try:
        database.migrate()
    finally:
        database.close()
    return f"ledger at the newest schema: {mask(settings.ledger.url)}"


def vacuum(settings: Settings) -> str:
    """The ledger's files hold what it holds, and nothing else. Returns what was done, for a person."""
    with opened(settings) as database:
        before = _size_bytes(database)
        compaction.rewrite(settings.ledger.url)
        after = _size_bytes(database)
    return f"rewritten: {byte_size(before)} before, {byte_size(after)} now"


def _size_bytes(database: Database) -> int:
    with database.read() as connection:
        return sizes.database_bytes(connection)
