"""Ledgers for tests: on SQLite in a file, and on a real Postgres; each one empty when it is asked for."""

from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from ledger import schema
from ledger.database import Database
from tests import compiled_statements, postgres_server
from tests.unit.ledger.ledger_builder import write_ledger

compiled_statements.share()
# on a busy machine an example may take long
hypothesis.settings.register_profile("any speed", deadline=None)
hypothesis.settings.load_profile("any speed")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a running server."""
    try:
        with postgres_server.server() as url:
            yield url
    except postgres_server.NoPostgres as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def postgres_ledger(postgres: str) -> Iterator[str]:
    """URL of a migrated ledger, emptied for each test: five times quicker than a database a test."""
    url = postgres_server.new_database(postgres)
    database = Database(url)
    database.migrate()
    database.close()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated, empty ledger of its own."""
    if request.param == "sqlite":
        path = tmp_path / "clorad.db"
        write_ledger(path)
        return f"sqlite:///{path}"
    shared: str = request.getfixturevalue("postgres_ledger")
    postgres_server.empty_database(shared, [table.name for table in schema.metadata.sorted_tables])
    return shared


@pytest.fixture
def anew(url: str, request: pytest.FixtureRequest) -> Callable[[], Database]:
    """Opens that ledger, emptied of what was in it: for tests that tell many stories."""

    database = Database(url)  # always the same: SQLAlchemy compiles each statement once for each engine

    def opened() -> Database:
        database.close()
        if url.startswith("sqlite"):
            path = Path(url.removeprefix("sqlite:///"))
            for beside in path.parent.glob(f"{path.name}-*"):
                beside.unlink()
            write_ledger(path)
        else:
            postgres_server.empty_database(url, [table.name for table in schema.metadata.sorted_tables])
        return database

    return opened
