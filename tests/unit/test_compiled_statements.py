"""What SQLAlchemy compiled for one ledger serves the next one of the same process."""

from contextlib import closing
from pathlib import Path

from sqlalchemy import select

from ledger import schema
from ledger.database import Database
from tests.unit.ledger.ledger_builder import build_ledger


def compiled(database: Database) -> int:
    """Statements that are compiled after one query of this ledger."""
    with database.read() as connection:
        connection.execute(select(schema.agents.c.name))
        return len(connection.get_execution_options()["compiled_cache"])


def test_the_second_ledger_compiles_nothing_anew(tmp_path: Path) -> None:
    with closing(build_ledger(tmp_path / "one.db")) as one, closing(build_ledger(tmp_path / "two.db")) as two:
        before = compiled(one)
        assert compiled(two) == before
