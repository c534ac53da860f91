"""A rewritten ledger is smaller, and holds nothing of what was forgotten."""

from pathlib import Path
from random import Random

from ledger.database import Database
from ledger.learning.agents import Agent, declare
from ledger.reports import sizes
from ledger.upkeep import compaction
from tests.unit.ledger.event_builder import (
    INTERACTIONS,
    keep,
)
from tests.unit.ledger.turn_builder import (
    build_version,
)
from tests.unit.ledger.upkeep.erasure_builder import (
    all_rows,
    build_capture,
    build_event_naming,
    build_marked_event,
    forget_and_check,
    store_dead_letter,
)


def test_nothing_is_left_in_sqlites_files(tmp_path: Path) -> None:
    path = tmp_path / "clorad.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    declare(database, Agent(name="billing", base_hash="b" * 64))
    long = "MARK" * 3000  # with overflow pages
    keep(database, build_capture("i1", long), partition=INTERACTIONS)
    keep(
        database,
        build_marked_event("1", long),
        build_event_naming("2", "i1", "MARK"),
        build_marked_event("3", "OTHER", author="bob"),
    )
    store_dead_letter(database, b'{"author": "ann", "said": "MARK"}')
    build_version(database)
    forget_and_check(database)
    assert compaction.flush(database.url)
    files = b"".join(file.read_bytes() for file in path.parent.glob(f"{path.name}*"))
    assert (b"MARK" in files, b"OTHER" in files) == (False, True)
    database.close()


def test_a_rewritten_ledger_is_smaller_and_the_same(database: Database) -> None:
    texts = [Random(number).randbytes(2000).hex() for number in range(200)]  # Postgres compresses others away
    keep(database, *[build_marked_event(str(number), text) for number, text in enumerate(texts)])
    forget_and_check(database)
    with database.read() as connection:
        before = sizes.database_bytes(connection)
    then = all_rows(database)
    database.close()
    compaction.rewrite(database.url)
    with database.read() as connection:
        assert sizes.database_bytes(connection) < before
    assert all_rows(database) == then
