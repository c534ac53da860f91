"""What the ledger refuses and what may fail around it: every exception of this stage, in one light module.

Nothing heavy is imported here: the command line names these exceptions before it loads the ledger.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ledger.events import Partition


class LedgerUnavailable(Exception):
    """The database is away, locked, full or read-only. Nothing was written; the caller waits and retries."""


class LedgerRefused(Exception):
    """The ledger cannot be used as it is (wrong schema, another ledger's data). A person has to look."""


class LedgerDamaged(LedgerRefused):
    """SQLite finds its file damaged, or no database. Waiting does not help, and writing makes it worse."""


class NewerEvidence(LedgerRefused):
    """A newer clorad wrote the evidence of a decision, in a format this one does not know: upgrade clorad."""


class LeaseLost(Exception):
    """Another process may do the work by now: the holder stops, and writes only what its token protects."""


class MovedOn(Exception):
    """Another member kept offsets of this partition meanwhile. Nothing was kept; seek to `next_offset`."""

    def __init__(self, partition: "Partition", next_offset: int | None) -> None:
        super().__init__(f"{partition.topic}[{partition.number}] is at {next_offset}")
        self.partition = partition
        self.next_offset = next_offset


class TurnVoid(Exception):
    """The turn's lease, parent or events changed: its work is dropped and the agent is due again."""


class FlipRefused(Exception):
    """The flip's conditions no longer hold; nothing changed. The candidate is dropped or judged again."""


class NoCopy(Exception):
    """The ledger could not be copied, or the copy is not sound; one line says why. Nothing has changed."""


class RestoreRefused(Exception):
    """A person should check something before this backup is restored; `force` restores it all the same."""
