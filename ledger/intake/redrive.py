"""Dead letters sent once more, after what made them unusable was put right: an agent declared, a field added.

The record goes back to its topic through the outbox, under its own id, in the transaction that marks it. A
header names the letter it was, so that a record that dies again can be followed back.
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
    """One dead letter, and what goes to Kafka for it; `kept_back` says why nothing does, if so."""

    letter: DeadLetter
    record: Outgoing | None
    kept_back: str

    @property
    def id(self) -> int:
        """The letter's number."""
        return self.letter.id

    @property
    def reason(self) -> Reason:
        """Why it was a dead letter."""
        return self.letter.reason


def redrive(
    database: Database,
    *,
    ids: Sequence[int] = (),
    reason: Reason | None = None,
    limit: int = LETTERS_MAX,
    dry_run: bool = False,
) -> list[Redriven]:
    """The chosen letters are owed to their topics again; with `dry_run` only told which would be, and how.

    Without `ids`, those of `reason` (all, if None) that were never redriven, oldest first; a letter that is
    named goes again whenever it is. What was stored meanwhile under the same id is a duplicate on arrival.
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
        _send_again(connection, chosen)
        return chosen


def _chosen(letter: DeadLetter) -> Redriven:
    kept_back = _KEPT_BACK.get(letter.reason, "")
    if letter.forgotten is not None:
        kept_back = f"it was forgotten: erasure {letter.forgotten}"
    trace = (REDRIVEN, str(letter.id).encode())
    record = (letter.topic, letter.key, letter.value, (*letter.headers, trace))
    return Redriven(letter=letter, record=None if kept_back else record, kept_back=kept_back)


def _send_again(connection: Connection, chosen: Sequence[Redriven]) -> None:
    going = {one.id: one.record for one in chosen if one.record is not None}
    outbox.put_all(connection, list(going.values()))
    connection.execute(
        update(dead_letters).where(dead_letters.c.id.in_(going)).values(redriven_s=now_s(connection))
    )


_KEPT_BACK = {
    Reason.POISON: "its bytes were never read",
    Reason.OVERSIZED: "only its beginning was kept",
    Reason.EMPTY: "there is nothing in it",
    Reason.CONFLICT: "its id belongs to another event; send it under a new one",
}
