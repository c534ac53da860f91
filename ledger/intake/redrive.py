"""Sends dead letters to their topics again, after the cause was corrected (an agent declared, a field added).

The record goes through the outbox, under its own id, in the transaction that marks the letter. A header names
the letter, so that a record that becomes a dead letter again can be traced.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from ledger.database import Database, now_s
from ledger.events import DeadLetter, Reason
from ledger.intake import dead_letters as letters
from ledger.intake import outbox
from ledger.intake.outbox import Outgoing
from ledger.schema import dead_letters

LETTERS_MAX = 1000
REDRIVEN = "clorad_redriven"


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """A dead letter, and the record that goes to Kafka for it; `kept_back` is the reason where none does."""

    letter: DeadLetter
    record: Outgoing | None
    kept_back: str

    @property
    def id(self) -> int:
        """The letter's number."""
        return self.letter.id

    @property
    def reason(self) -> Reason:
        """Why it is a dead letter."""
        return self.letter.reason


def redrive(
    database: Database,
    *,
    ids: Sequence[int] = (),
    reason: Reason | None = None,
    limit: int = LETTERS_MAX,
    dry_run: bool = False,
    by: str | None = None,
    why: str | None = None,
) -> list[Redriven]:
    """Put the chosen letters into the outbox; with `dry_run` only return which, and how.

    Without `ids` it chooses letters of `reason` (of any, if None) that were never redriven, oldest first, at
    most `limit` and `LETTERS_MAX`. A letter in `ids` is sent again also if it was redriven before: if its
    event is stored by now, intake counts the record as a duplicate. Who sends it again, and why, is stored.
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
            return [_chosen(letter) for letter in letters.read_letters(connection, query)]
    with database.write() as connection:
        chosen = [_chosen(letter) for letter in letters.read_letters(connection, query)]
        _send_again(connection, chosen, by=by, why=why)
        return chosen


def _chosen(letter: DeadLetter) -> Redriven:
    kept_back = _KEPT_BACK.get(letter.reason, "")
    if letter.forgotten is not None:
        kept_back = f"it was forgotten: erasure {letter.forgotten}"
    trace = (REDRIVEN, str(letter.id).encode())
    record = (letter.topic, letter.key, letter.value, (*letter.headers, trace))
    return Redriven(letter=letter, record=None if kept_back else record, kept_back=kept_back)


def _send_again(
    connection: Connection, chosen: Sequence[Redriven], *, by: str | None, why: str | None
) -> None:
    records = {letter.id: letter.record for letter in chosen if letter.record is not None}
    outbox.put_all(connection, list(records.values()))
    connection.execute(
        update(dead_letters)
        .where(dead_letters.c.id.in_(records))
        .values(redriven_s=now_s(connection), redriven_by=by, redriven_why=why)
    )


_KEPT_BACK = {
    Reason.POISON: "its bytes were never read",
    Reason.OVERSIZED: "only its beginning was kept",
    Reason.EMPTY: "there is nothing in it",
    Reason.CONFLICT: "its id belongs to another event; send it under a new one",
}
