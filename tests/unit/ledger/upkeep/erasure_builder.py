"""Builds events with marked texts, and erases them."""

from typing import Any

from sqlalchemy import func, select

from ledger import schema
from ledger.database import Database
from ledger.events import Arrival, Batch, Event, Interaction, UnusableRecord
from ledger.intake import transaction
from ledger.reports.audit import audit
from ledger.upkeep import forgetting
from ledger.upkeep.forgetting import Forgotten
from ledger.upkeep.mentions import Subject
from tests.unit.ledger.event_builder import (
    DEAD_LETTERS,
    FEEDBACK,
    build_event,
    build_interaction,
    build_unusable,
)

ANN = Subject(kind="author", names=frozenset({"ann", "redacted:0123"}))


def build_marked_event(id: str, marker: str, **changed: Any) -> Event:
    """A correction that has the marker in each of its texts."""
    data = {
        "messages": [{"role": "user", "content": f"{marker} asks"}],
        "rejected": f"{marker} no",
        "corrected": f"{marker} yes",
        "comment": f"{marker} says so",
    }
    return build_event(id, data=data, **changed)


def build_event_naming(id: str, interaction: str, marker: str, **changed: Any) -> Event:
    """A correction of a captured interaction, with the marker in its text."""
    data = {"corrected": f"{marker} yes"}
    return build_event(id, interaction=interaction, data=data, role=None, prompt_group=None, **changed)


def build_capture(id: str, marker: str, **changed: Any) -> Interaction:
    """An interaction that has the marker in each of its texts."""
    messages = ({"role": "user", "content": f"{marker} asks"},)
    return build_interaction(
        id,
        messages=messages,
        completion=f"{marker} hears",
        sampling={"stop": marker},
        reply={"role": "assistant", "content": f"{marker} hears", "reasoning": marker},
        request={"tools": [{"type": "function", "function": {"name": marker}}]},
        restrictions=(f"{marker}_k",),
        packed_prompt=f"{marker} packed".encode(),
        **changed,
    )


def store_dead_letter(database: Database, value: bytes, *, key: bytes = b"k", headers: Any = ()) -> None:
    """Store the record as a dead letter, at the partition's next offset."""
    start = transaction.start_at(database, FEEDBACK, 0)
    arrival = Arrival(offset=start, key=key, value=value, headers=headers, content=build_unusable())
    assert isinstance(arrival.content, UnusableRecord)
    batch = Batch(partition=FEEDBACK, start=start, end=start + 1, arrivals=(arrival,))
    transaction.keep(database, [batch], dead_letter_topic=DEAD_LETTERS)


def all_rows(database: Database) -> str:
    """Every row of every table, as text."""
    with database.read() as connection:
        rows = [
            tuple(row)
            for table in schema.metadata.sorted_tables
            for row in connection.execute(select(table)).all()
        ]
    return "\n".join(map(str, rows))


def row_counts(database: Database) -> dict[str, int]:
    """Rows of each table in which an erasure keeps all rows."""
    others = ("erasures", "waiting_records")
    with database.read() as connection:
        return {
            table.name: int(connection.scalar(select(func.count()).select_from(table)) or 0)
            for table in schema.metadata.sorted_tables
            if table.name not in others
        }


def forget_and_check(database: Database, subject: Subject = ANN, **options: Any) -> Forgotten:
    """Forget the subject, and check the dry run, the rows and the audit."""
    with database.read() as connection:
        expected = forgetting.would_forget(connection, subject)
    before = row_counts(database)
    done = forgetting.forget(database, subject, whom="f" * 64, by="dpo", reason="asked", **options)
    assert (done.counts, done.taught) == (expected.counts, expected.taught), (
        "a dry run says what would happen"
    )
    assert row_counts(database) == before, "rows stay"
    with database.read() as connection:
        assert audit(connection).disagreements == ()
    return done
