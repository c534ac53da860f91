"""Builds empty ledgers on SQLite, as copies of one: the migrations take longer than most tests."""

import functools
import tempfile
from pathlib import Path

from ledger import schema
from ledger.database import Database
from ledger.learning.agents import Agent, declare

BASE_HASH = "b" * 64


def build_ledger(path: Path, *agents: str) -> Database:
    """A ledger of the newest schema in the file `path`, with these agents."""
    write_ledger(path)
    database = Database(f"sqlite:///{path}")
    for name in agents:
        declare(database, Agent(name=name, base_hash=BASE_HASH))
    return database


def write_ledger(path: Path) -> None:
    """Write the file of a ledger without agents."""
    path.touch(mode=0o600)
    path.write_bytes(_empty_ledger())


def build_memory_ledger(*agents: str) -> Database:
    """A ledger in memory, with these agents and no more. Every call empties the same one.

    SQLAlchemy compiles each statement once for each `Database`, which takes longer than to run it here.
    """
    database = _memory_ledger()
    with database.write() as connection:
        for table in reversed(schema.metadata.sorted_tables):
            connection.execute(table.delete())
    for name in agents:
        declare(database, Agent(name=name, base_hash=BASE_HASH))
    return database


@functools.cache
def _memory_ledger() -> Database:
    database = Database("sqlite://")
    with database.write() as connection:
        schema.metadata.create_all(connection)  # ten times quicker than migrating
    return database


@functools.cache
def _empty_ledger() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clorad.db")
        database = Database(f"sqlite:///{path}")
        database.migrate()
        database.close()
        return path.read_bytes()
