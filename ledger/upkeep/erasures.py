"""Erasures: who had texts forgotten, when, why and how many rows. An entry is never removed.

An entry has a keyed fingerprint of the forgotten name: it shows whether an entry is about a given name, but
nobody can read the name from it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ledger.database import now_s
from ledger.schema import erasures


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """One request to forget, and how many rows it emptied."""

    id: int
    kind: str  # author, event, conversation
    whom: str
    by: str
    reason: str
    begun_s: float
    finished_s: float | None  # None: it was interrupted, or a restore undid it; it must be requested again
    counts: Mapping[str, int]  # emptied rows by kind

    def to_json(self) -> dict[str, Any]:
        """The entry for programs."""
        return {
            "id": self.id,
            "kind": self.kind,
            "whom": self.whom,
            "by": self.by,
            "reason": self.reason,
            "begun_s": self.begun_s,
            "finished_s": self.finished_s,
            "counts": dict(self.counts),
        }


def begin(connection: Connection, *, kind: str, whom: str, by: str, reason: str) -> int:
    """Add an entry with no rows yet. Returns its number."""
    row = {"kind": kind, "whom": whom, "by": by, "reason": reason, "begun_s": now_s(connection)}
    inserted = connection.execute(insert(erasures).values(**row, counts={}))
    assert inserted.inserted_primary_key is not None, "a serial key is always returned"
    return int(inserted.inserted_primary_key[0])


def add(connection: Connection, erasure_id: int, kind: str, rows: int) -> None:
    """Add `rows` to the entry's count, in the transaction that empties them."""
    counts = dict(connection.scalar(select(erasures.c.counts).where(erasures.c.id == erasure_id)) or {})
    counts[kind] = counts.get(kind, 0) + rows
    connection.execute(update(erasures).where(erasures.c.id == erasure_id).values(counts=counts))


def finish(connection: Connection, whom: str) -> None:
    """Close every open entry about `whom`, interrupted ones too: the ledger has nothing of it any more."""
    begun = update(erasures).where(erasures.c.whom == whom, erasures.c.finished_s.is_(None))
    connection.execute(begun.values(finished_s=now_s(connection)))


def carry_over(connection: Connection, entries: Iterable[Erasure]) -> None:
    """Add the entries that this restored ledger does not have, as unfinished: their texts are back."""
    known_ids = {erasure.id for erasure in all_erasures(connection)}
    for entry in entries:
        if entry.id not in known_ids:
            connection.execute(
                insert(erasures).values(
                    id=entry.id,
                    kind=entry.kind,
                    whom=entry.whom,
                    by=entry.by,
                    reason=entry.reason,
                    begun_s=entry.begun_s,
                    counts={},
                )
            )


def all_erasures(connection: Connection, *, whom: str | None = None) -> list[Erasure]:
    """The entries, oldest first; only those about `whom` if given."""
    query = select(erasures).order_by(erasures.c.id)
    if whom is not None:
        query = query.where(erasures.c.whom == whom)
    return [
        Erasure(
            id=row.id,
            kind=row.kind,
            whom=row.whom,
            by=row.by,
            reason=row.reason,
            begun_s=row.begun_s,
            finished_s=row.finished_s,
            counts=row.counts,
        )
        for row in connection.execute(query)
    ]
