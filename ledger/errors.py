"""Every exception of the ledger, in a module that is cheap to import.

The command line names these exceptions before it loads the ledger.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ledger.events import Partition


class LedgerUnavailable(Exception):
    """The database is away, locked, full or read-only. Nothing was written; the caller waits and retries."""


class LedgerRefused(Exception):
    """The ledger cannot be used as it is (wrong schema, another ledger's data). A person has to look."""


class LedgerDamaged(LedgerRefused):
    """SQLite reports that its file is damaged, or no database. Waiting does not help; writing makes it
    worse."""


class NewerEvidence(LedgerRefused):
    """A newer clorad wrote the evidence of a decision in a format that this one does not know: upgrade it."""


class LeaseLost(Exception):
    """Another process may do the work by now: the holder stops. Its token fences whatever it still writes."""


class MovedOn(Exception):
    """Another member stored offsets of this partition meanwhile. Nothing was stored; seek to
    `next_offset`."""

    def __init__(self, partition: "Partition", next_offset: int | None) -> None:
        super().__init__(f"{partition.topic}[{partition.number}] is at {next_offset}")
        self.partition = partition
        self.next_offset = next_offset


class TurnVoid(Exception):
    """The turn's lease, parent or events changed: its result is dropped and the agent is due again."""


class AdoptionRefused(Exception):
    """An agent cannot take an experiment's version as its candidate; one line says why. Nothing changed."""


class FlipRefused(Exception):
    """The flip's conditions no longer hold; nothing changed. The candidate is dropped or judged again."""


class NoCopy(Exception):
    """The ledger could not be copied, or the copy is not sound; one line says why. Nothing has changed."""


class RestoreRefused(Exception):
    """A person should check something before this backup is restored; `force` restores it anyway."""


class EventDecisionRefused(Exception):
    """What a person wants to decide about an event cannot be decided; one line says why. Nothing changed."""
