"""Dead letters sent once more, after what made them unusable was put right: an agent declared, a field added.

The record goes back to its topic through the outbox, under its own id, in the transaction that marks it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select, update

from ledger import outbox
from ledger.database import Database, now_s
from ledger.events import Reason
from ledger.outbox import from_json
from ledger.schema import dead_letters

LETTERS_MAX = 1000
REDRIVEN = "clorad_redriven"


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """One dead letter, and why it does not go again; empty where it does."""

    id: int
    reason: Reason
    kept_back: str


def redrive(
    database: Database,
    *,
    ids: Sequence[int] = (),
    reason: Reason | None = None,
    limit: int = LETTERS_MAX,
    dry_run: bool = False,
) -> list[Redriven]:
    """The chosen letters are owed to their topics again; with `dry_run` only told which would be.

    Without `ids`, those of `reason` (all, if None) that were never redriven, oldest first.
    """
    query = select(dead_letters).order_by(dead_letters.c.id).limit(min(limit, LETTERS_MAX))
    if ids:
        query = query.where(dead_letters.c.id.in_(ids))
    else:
        query = query.where(dead_letters.c.redriven_s.is_(None))
    if reason is not None:
        query = query.where(dead_letters.c.reason == reason.value)
    if dry_run:
        with database.read() as connection:
            return [_chosen(row) for row in connection.execute(query)]
    with database.write() as connection:
        rows = connection.execute(query).all()
        chosen = [_chosen(row) for row in rows]
        going = [row for row, one in zip(rows, chosen, strict=True) if not one.kept_back]
        _send_again(connection, going)
        return chosen


def _chosen(row: Row[Any]) -> Redriven:
    reason = Reason(row.reason)
    kept_back = _KEPT_BACK.get(reason, "")
    return Redriven(id=row.id, reason=reason, kept_back=kept_back)


def _send_again(connection: Connection, rows: Sequence[Row[Any]]) -> None:
    messages = [
        (row.topic, row.key, row.value, (*from_json(row.headers), (REDRIVEN, str(row.id).encode())))
        for row in rows
    ]
    outbox.put_all(connection, messages)
    sent = [row.id for row in rows]
    connection.execute(
        update(dead_letters).where(dead_letters.c.id.in_(sent)).values(redriven_s=now_s(connection))
    )


_KEPT_BACK = {
    Reason.POISON: "its bytes were never read",
    Reason.OVERSIZED: "only its beginning was kept",
    Reason.EMPTY: "there is nothing in it",
    Reason.CONFLICT: "its id belongs to another event; send it under a new one",
}
