"""Who had something forgotten, when, why and how much it was. Entries are only ever added to.

Whom it was about is kept as a keyed fingerprint: enough to answer "was it done for this name?", and nothing
to read a name from.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from ledger.database import now_s
from ledger.schema import erasures


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """One entry."""

    id: int
    kind: str  # author, event, conversation
    whom: str
    by: str
    reason: str
    begun_s: float
    finished_s: float | None  # None: it broke off, or a restore undid it; to be asked for again
    counts: Mapping[str, int]  # what is gone, in rows by kind


def begin(connection: Connection, *, kind: str, whom: str, by: str, reason: str) -> int:
    """A new entry, of nothing so far. Returns its number."""
    row = {"kind": kind, "whom": whom, "by": by, "reason": reason, "begun_s": now_s(connection)}
    made = connection.execute(insert(erasures).values(**row, counts={}))
    assert made.inserted_primary_key is not None, "a serial key is always returned"
    return int(made.inserted_primary_key[0])


def add(connection: Connection, erasure_id: int, kind: str, rows: int) -> None:
    """So many more are gone, in the transaction in which they go."""
    counts = dict(connection.scalar(select(erasures.c.counts).where(erasures.c.id == erasure_id)) or {})
    counts[kind] = counts.get(kind, 0) + rows
    connection.execute(update(erasures).where(erasures.c.id == erasure_id).values(counts=counts))


def finish(connection: Connection, whom: str) -> None:
    """Nothing of it was left to be found: what was begun for it earlier, and broke off, is over as well."""
    begun = update(erasures).where(erasures.c.whom == whom, erasures.c.finished_s.is_(None))
    connection.execute(begun.values(finished_s=now_s(connection)))


def carry_over(connection: Connection, entries: Iterable[Erasure]) -> None:
    """These are known here too; those that were not are to be asked for again: what they took is back."""
    known = {one.id for one in all_erasures(connection)}
    for one in entries:
        if one.id not in known:
            row = {"id": one.id, "kind": one.kind, "whom": one.whom, "by": one.by, "reason": one.reason}
            connection.execute(insert(erasures).values(**row, begun_s=one.begun_s, counts={}))


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
