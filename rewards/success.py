"""What shows that prompts of a kind can be answered well, or how: blame alone must not train without it.

Measured: aborts alone, on an agent that never succeeds, teach nothing and cost it its other skills.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ledger.events import CORRECTING, Event, KeptEvent, Kind
from rewards.episode import Message
from rewards.exchange import History, asked
from rewards.likeness import TextFeatures, likeness, text_features

SAME_KIND = 0.4
"""Likeness from which success at one prompt counts for the other."""

_SUCCESSES_MAX = 1000  # newest ones that are compared with


@dataclass(frozen=True, slots=True, kw_only=True)
class Successes:
    """Prompts that were answered well by the agent, or for it by people."""

    looks: tuple[TextFeatures, ...]

    def has_kind_of(self, messages: Iterable[Message]) -> bool:
        """Whether one of them is like this prompt."""
        this = text_features(asked(tuple(messages)))
        return any(likeness(this, success) >= SAME_KIND for success in self.looks)


def successes(events: Iterable[KeptEvent], record: History) -> Successes:
    """Those among the events, the newest where there are many."""
    found = [kept.event for kept in events if _is_success(kept.event)][-_SUCCESSES_MAX:]
    return Successes(looks=tuple(text_features(asked(record.about(event).messages)) for event in found))


def _is_success(event: Event) -> bool:
    if event.kind is Kind.OUTCOME:
        return event.amends is None and float(event.data["value"]) > 0.0
    return event.kind in (*CORRECTING, Kind.TAKEOVER, Kind.APPROVE)
