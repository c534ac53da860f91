"""Revisions of the schema: reads which one a ledger has, refuses unknown ones, and upgrades."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from ledger.errors import LedgerRefused

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"


@cache
def known_revisions() -> tuple[str, ...]:
    """The revisions that this clorad can read, oldest first. It needs the last."""
    return tuple(sorted(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py")))


def revision_of(connection: Connection) -> str | None:
    """The revision of the ledger; None if the database has no ledger."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def refuse_newer(revision: str, owner: str) -> None:
    """Raises `LedgerRefused` if a newer clorad made `owner`: "the ledger", or the name of a backup."""
    known = known_revisions()
    if revision not in known:
        raise LedgerRefused(
            f"{owner} has schema {revision[:20] or 'unknown'}, this clorad knows {known[0]} to {known[-1]}:"
            " use the clorad that made it or a newer one, or restore a backup from before the upgrade"
        )


def require_newest(connection: Connection) -> None:
    """Raises `LedgerRefused` if the ledger does not have the schema that this clorad needs."""
    revision = revision_of(connection)
    if revision is None:
        raise LedgerRefused("the database holds no ledger; `clorad ledger migrate` makes one")
    refuse_newer(revision, "the ledger")
    newest = known_revisions()[-1]
    if revision != newest:
        raise LedgerRefused(
            f"the ledger has schema {revision}, this clorad needs {newest}:"
            " back it up, then `clorad ledger migrate` (roles do it when they start)"
        )


def is_newest(connection: Connection) -> bool:
    """Whether the ledger has exactly the schema of this clorad."""
    return revision_of(connection) == known_revisions()[-1]


def upgrade(connection: Connection) -> None:
    """Bring the schema to the newest revision, in the caller's transaction.

    Raises `LedgerRefused` if a newer clorad made it.
    """
    revision = revision_of(connection)
    if revision is not None:
        refuse_newer(revision, "the ledger")
    if revision == known_revisions()[-1]:
        return  # another process may have upgraded it while this one waited for the lock
    from alembic import command

    config = load_alembic()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def schema_differences(connection: Connection) -> int:
    """In how many places the tables differ from those of this clorad."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from ledger.schema import metadata

    return len(compare_metadata(MigrationContext.configure(connection), metadata))


def load_alembic() -> "Config":
    """Alembic's configuration. The first call imports Alembic, which takes 0.25 s that most commands save."""
    from alembic import command  # noqa: F401 - for `upgrade`
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config
