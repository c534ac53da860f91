"""Every ledger test runs twice: on SQLite in a file, and on a real Postgres."""

from collections.abc import Iterator

import pytest

from ledger.database import Database
from ledger.learning.agents import Agent, declare


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """An open ledger with two agents, `billing` and `sql`."""
    opened = Database(url)
    for name in ("billing", "sql"):
        declare(opened, Agent(name=name, base_hash="b" * 64))
    yield opened
    opened.close()
