"""Opens the ledger for a command, and refuses a ledger that does not exist or has another schema."""

from collections.abc import Iterator
from contextlib import contextmanager

from daemon.console import CommandFailed
from daemon.settings import Settings
from ledger.database import Connection, Database
from ledger.files import file_of_url
from ledger.revisions import require_newest


@contextmanager
def reading(settings: Settings) -> Iterator[Connection]:
    """A consistent snapshot of the ledger. Raises `CommandFailed` if there is no ledger."""
    with opened(settings) as database, database.read() as connection:
        yield connection


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """The ledger. Raises `CommandFailed` if there is none, `LedgerRefused` if it has another schema."""
    require_file(settings)
    database = Database(settings.ledger.url)
    try:
        with database.read() as connection:
            require_newest(connection)
        yield database
    finally:
        database.close()


def require_file(settings: Settings) -> None:
    """Raises `CommandFailed` if the ledger is an SQLite file that does not exist."""
    path = file_of_url(settings.ledger.url)
    if path is not None and not path.is_file():
        raise CommandFailed(
            f"no ledger at {path} (ledger.url); `clorad run` or `clorad ledger migrate` makes one"
        )
