"""Counts what people said about a canary and its champion: once a conversation, and nobody alone decides."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from feedback.people import person_of
from ledger.events import FROM_PEOPLE, Signal
from ledger.versions.canary import CanaryStep, share_at
from ledger.versions.live_feedback import LiveFeedback
from ledger.versions.routing import is_in_share
from serving.canary.sequential_test import StepCounts

ONE_AUTHOR_MAX = 3
"""Conversations of one author that count for a signal, and further ones up to half of all that count."""


@dataclass(slots=True, kw_only=True)
class FeedbackCounts:
    """Conversations by signal, step and version, of one canary. `add` takes events in the ledger's order.

    Where an event that was added counts no more (`stands`), its owner counts all anew.
    """

    canary: str  # version, as in v7-3fa2c1
    champion: str
    steps: Sequence[CanaryStep] = ()
    through_seq: int = 0  # newest event that was added
    uncounted: frozenset[int] = frozenset()  # events (by seq) that did not count at the last look
    unattributed: int = 0  # events that name neither a conversation nor an interaction
    _counted: set[tuple[Signal, str]] = field(default_factory=set)
    _by_author: Counter[tuple[Signal, str]] = field(default_factory=Counter)
    _of_canary_by_author: Counter[tuple[Signal, str]] = field(default_factory=Counter)
    _counts: Counter[tuple[Signal, float, bool]] = field(default_factory=Counter)

    def add(self, feedback: LiveFeedback) -> None:
        """Count one event, unless its conversation or its author has been counted enough.

        The test stays valid (`serving.canary.sequential_test`): whether an event counts does not depend on
        the version that its conversation was drawn for, or it counts less against the canary.
        """
        self.through_seq = max(self.through_seq, feedback.seq)
        if feedback.conversation is None:
            self.unattributed += 1
            return
        share = share_at(self.steps, feedback.received_s)
        if not 0.0 < share < 1.0 or (feedback.signal, feedback.conversation) in self._counted:
            return
        if feedback.answered_s is not None and feedback.answered_s < self.steps[0].began_s:
            return  # the answer is older than the canary
        of_canary = is_in_share(feedback.conversation, self.canary, share)
        self._counted.add((feedback.signal, feedback.conversation))
        if not self._may_count(self._by_author, feedback):
            return
        author = person_of(feedback.author)
        self._by_author[feedback.signal, author] += 1
        if of_canary:
            if feedback.version not in (None, self.canary):
                return  # it was answered before its conversation became the canary's
            if not self._may_count(self._of_canary_by_author, feedback):
                return
            self._of_canary_by_author[feedback.signal, author] += 1
        self._counts[feedback.signal, share, of_canary] += 1

    def stands(self, uncounted: frozenset[int]) -> bool:
        """Whether the same events count as before, of those that were read; these do not count now."""
        return all(seq > self.through_seq for seq in uncounted ^ self.uncounted)

    def step_counts(self, signal: Signal) -> tuple[StepCounts, ...]:
        """What the test compares, one entry a share."""
        shares = sorted({step.share for step in self.steps if 0.0 < step.share < 1.0})
        return tuple(
            StepCounts(
                share=share,
                canary=self._counts[signal, share, True],
                champion=self._counts[signal, share, False],
            )
            for share in shares
        )

    def counts(self) -> dict[Signal, tuple[StepCounts, ...]]:
        """The same of each signal that people give."""
        return {signal: self.step_counts(signal) for signal in FROM_PEOPLE}

    def _may_count(self, by_author: Counter[tuple[Signal, str]], feedback: LiveFeedback) -> bool:
        """Whether one more conversation of this author counts beside those of the others."""
        own = by_author[feedback.signal, person_of(feedback.author)]
        others = sum(number for (signal, _), number in by_author.items() if signal is feedback.signal) - own
        return own < max(ONE_AUTHOR_MAX, others + 1)
