"""Decides when a learner counts the backlogs, and how long the first due agent waits for others.

Counting takes a second where a million events wait, so a learner counts again only after something happened
in the ledger. Agents in one pass cost less than one by one, so the first due agent waits a little for others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.learning.backlog import Backlog
from ledger.versions.gate_modes import GateMode

COUNT_AGAIN_S = 10.0
"""Longest time between two counts: feedback becomes due by its age although nothing happens."""


@dataclass(slots=True)
class Pacing:
    """When one learner last counted the backlogs, and since when an agent has been due."""

    stamp: tuple[int, ...] | None = None  # where the ledger stood at the last count
    counted_s: float = 0.0
    due_since_s: float | None = None

    def should_count(self, stamp: tuple[int, ...], now_s: float) -> bool:
        """Whether the ledger changed since the last count, or that count is old. Yes begins a new count."""
        if stamp == self.stamp and now_s - self.counted_s < COUNT_AGAIN_S:
            return False
        self.stamp, self.counted_s = stamp, now_s
        return True

    def has_gathered(self, agents_due: int, now_s: float, *, gather_s: float) -> bool:
        """Whether a pass may start: an agent is due, and the first one has waited `gather_s` for others."""
        if agents_due == 0:
            self.due_since_s = None
            return False
        if self.due_since_s is None:
            self.due_since_s = now_s
        if now_s - self.due_since_s < gather_s:
            self.stamp = None  # count again at the next call: the wait is short
            return False
        self.due_since_s = None
        return True


def gathering_s(backlogs: Sequence[Backlog], due: Sequence[Backlog], *, gather_s: float) -> float:
    """Seconds that the first due agent waits for others.

    Experiments alone wait only while another one has outcomes of a step that is not complete: each of their
    steps would take so much longer.
    """
    agents_due = {backlog.agent for backlog in due}
    others_come = any(
        backlog.untaught > 0
        for backlog in backlogs
        if backlog.agent not in agents_due and not backlog.is_learning and not backlog.has_candidate
    )
    is_experiments = bool(due) and all(backlog.gate is GateMode.OFF for backlog in due)
    return 0.0 if is_experiments and not others_come else gather_s
