"""A ledger of another version is migrated, or refused in one line that names both schemas and the way out."""

from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text

from ledger.database import Database
from ledger.errors import LedgerRefused
from ledger.revisions import known_revisions, refuse_newer, require_newest, revision_of
from tests.unit.ledger.schema_builder import build_schema

NEWEST = known_revisions()[-1]


def set_revision(database: Database, revision: str) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :it"), {"it": revision})


def test_the_known_revisions_are_those_that_alembic_finds() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    from ledger.revisions import MIGRATIONS

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    assert known_revisions() == tuple(reversed([script.revision for script in scripts.walk_revisions()]))


def test_a_migrated_ledger_has_the_newest_revision(database: Database) -> None:
    with database.read() as connection:
        assert revision_of(connection) == NEWEST
        require_newest(connection)


def test_a_database_without_a_ledger_is_refused_with_how_to_make_one(tmp_path: Path) -> None:
    with closing(Database(f"sqlite:///{tmp_path / 'empty.db'}")) as database, database.read() as connection:
        assert revision_of(connection) is None
        with pytest.raises(LedgerRefused, match=r"holds no ledger; `clorad ledger migrate` makes one"):
            require_newest(connection)


def test_an_older_ledger_is_refused_until_it_is_migrated(tmp_path: Path) -> None:
    with closing(Database(f"sqlite:///{tmp_path / 'old.db'}")) as database:
        build_schema(database, "0001")
        with database.read() as connection, pytest.raises(LedgerRefused) as refusal:
            require_newest(connection)
        assert f"has schema 0001, this clorad needs {NEWEST}: " in str(refusal.value)
        assert "`clorad ledger migrate`" in str(refusal.value)
        database.migrate()
        with database.read() as connection:
            require_newest(connection)


def test_a_newer_ledger_is_refused_and_not_changed(database: Database) -> None:
    set_revision(database, "9999")
    with pytest.raises(LedgerRefused) as refusal:
        database.migrate()
    assert f"has schema 9999, this clorad knows 0001 to {NEWEST}: " in str(refusal.value)
    with database.read() as connection:
        assert revision_of(connection) == "9999"
        with pytest.raises(LedgerRefused, match="has schema 9999"):
            require_newest(connection)
    set_revision(database, NEWEST)


def test_a_long_or_empty_revision_fits_into_the_line() -> None:
    with pytest.raises(LedgerRefused) as refusal:
        refuse_newer("x" * 5000, "backup.db")
    assert str(refusal.value).startswith(f"backup.db has schema {'x' * 20}, ")
    with pytest.raises(LedgerRefused, match="has schema unknown"):
        refuse_newer("", "backup.db")
