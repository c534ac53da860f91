"""A rewritten ledger is smaller, and holds nothing of what was forgotten."""

from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import func, select

from ledger import schema
from ledger.database import Database
from ledger.events import Arrival, Batch, Event, UnusableRecord
from ledger.intake import transaction
from ledger.learning.agents import Agent, declare
from ledger.reports import sizes
from ledger.reports.audit import audit
from ledger.upkeep import compaction, forgetting
from ledger.upkeep.forgetting import Forgotten
from ledger.upkeep.mentions import Subject
from tests.unit.ledger.event_builder import (
    DEAD_LETTERS,
    FEEDBACK,
    INTERACTIONS,
    build_event,
    build_interaction,
    build_unusable,
    keep,
)
from tests.unit.ledger.turn_builder import (
    build_version,
)

ANN = Subject(kind="author", names=frozenset({"ann", "redacted:0123"}))


def told(id: str, marker: str, **changed: Any) -> Event:
    """A correction whose texts hold the marker."""
    data = {
        "messages": [{"role": "user", "content": f"{marker} asks"}],
        "rejected": f"{marker} no",
        "corrected": f"{marker} yes",
        "comment": f"{marker} says so",
    }
    return build_event(id, data=data, **changed)


def naming(id: str, interaction: str, marker: str, **changed: Any) -> Event:
    data = {"corrected": f"{marker} yes"}
    return build_event(id, interaction=interaction, data=data, role=None, prompt_group=None, **changed)


def captured(id: str, marker: str, **changed: Any) -> Any:
    messages = ({"role": "user", "content": f"{marker} asks"},)
    return build_interaction(
        id, messages=messages, completion=f"{marker} hears", sampling={"stop": marker}, **changed
    )


def buried(database: Database, value: bytes, *, key: bytes = b"k", headers: Any = ()) -> None:
    start = transaction.start_at(database, FEEDBACK, 0)
    arrival = Arrival(offset=start, key=key, value=value, headers=headers, content=build_unusable())
    assert isinstance(arrival.content, UnusableRecord)
    batch = Batch(partition=FEEDBACK, start=start, end=start + 1, arrivals=(arrival,))
    transaction.keep(database, [batch], dead_letter_topic=DEAD_LETTERS)


def everything(database: Database) -> str:
    """All that stands anywhere in the ledger."""
    with database.read() as connection:
        rows = [
            tuple(row)
            for table in schema.metadata.sorted_tables
            for row in connection.execute(select(table)).all()
        ]
    return "\n".join(map(str, rows))


def counts(database: Database) -> dict[str, int]:
    but = ("erasures", "waiting_records")
    with database.read() as connection:
        return {
            table.name: int(connection.scalar(select(func.count()).select_from(table)) or 0)
            for table in schema.metadata.sorted_tables
            if table.name not in but
        }


def forget(database: Database, subject: Subject = ANN, **options: Any) -> Forgotten:
    with database.read() as connection:
        expected = forgetting.would_forget(connection, subject)
    before = counts(database)
    done = forgetting.forget(database, subject, whom="f" * 64, by="dpo", reason="asked", **options)
    assert (done.counts, done.taught) == (expected.counts, expected.taught), (
        "a dry run says what would happen"
    )
    assert counts(database) == before, "rows stay"
    with database.read() as connection:
        assert audit(connection).disagreements == ()
    return done


def test_nothing_is_left_in_sqlites_files(tmp_path: Path) -> None:
    path = tmp_path / "clorad.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    declare(database, Agent(name="billing", base_hash="b" * 64))
    long = "MARK" * 3000  # with overflow pages
    keep(database, captured("i1", long), partition=INTERACTIONS)
    keep(database, told("1", long), naming("2", "i1", "MARK"), told("3", "OTHER", author="bob"))
    buried(database, b'{"author": "ann", "said": "MARK"}')
    build_version(database)
    forget(database)
    assert compaction.flush(database.url)
    files = b"".join(one.read_bytes() for one in path.parent.glob(f"{path.name}*"))
    assert (b"MARK" in files, b"OTHER" in files) == (False, True)
    database.close()


def test_a_rewritten_ledger_is_smaller_and_the_same(database: Database) -> None:
    texts = [Random(number).randbytes(2000).hex() for number in range(200)]  # Postgres compresses others away
    keep(database, *[told(str(number), text) for number, text in enumerate(texts)])
    forget(database)
    with database.read() as connection:
        before = sizes.database_bytes(connection)
    then = everything(database)
    database.close()
    compaction.rewrite(database.url)
    with database.read() as connection:
        assert sizes.database_bytes(connection) < before
    assert everything(database) == then
