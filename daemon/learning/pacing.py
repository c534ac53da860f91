"""When a learner counts the backlogs, which takes a second where a million events wait, and opens a pass.

Not again while nothing happens in the ledger; and those who are due first wait a little for company, because
agents in one pass cost less than one by one.
"""

from dataclasses import dataclass

LOOK_AGAIN_S = 10.0
"""Between looks at the backlogs while nothing happens in the ledger: feedback grows old by itself."""


@dataclass(slots=True)
class Pacing:
    """When one learner last counted the backlogs, where the ledger stood, and since when somebody is due."""

    stamp: tuple[int, int, int] | None = None
    at_s: float = 0.0
    due_since_s: float | None = None  # since when somebody has been due

    def is_due(self, stamp: tuple[int, int, int], now_s: float) -> bool:
        """Whether anything happened since, or enough time passed for feedback to have grown old."""
        if stamp == self.stamp and now_s - self.at_s < LOOK_AGAIN_S:
            return False
        self.stamp, self.at_s = stamp, now_s
        return True

    def has_gathered(self, now_s: float, *, anybody: bool, gather_s: float) -> bool:
        """Whether those who are due have waited for others to share their pass; if not, look again soon."""
        if not anybody:
            self.due_since_s = None
            return False
        if self.due_since_s is None:
            self.due_since_s = now_s
        if now_s - self.due_since_s < gather_s:
            self.stamp = None
            return False
        self.due_since_s = None
        return True
