"""Finds prompts that were answered well: an abort is trained on only if a similar prompt has such an answer.

Measured: aborts alone, for an agent that never succeeds, teach nothing and damage its other skills.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ledger.events import CORRECTING, Event, KeptEvent, Kind
from rewards.episode import Message
from rewards.exchange import History, asked
from rewards.similarity import TextFeatures, similarity, text_features

SAME_KIND = 0.4
"""Similarity from which a success at one prompt counts for another prompt."""

_SUCCESSES_MAX = 1000  # newest ones that are compared with


@dataclass(frozen=True, slots=True, kw_only=True)
class Successes:
    """Prompts that the agent answered well, or that people answered for it."""

    prompts: tuple[TextFeatures, ...]

    def has_kind_of(self, messages: Iterable[Message]) -> bool:
        """Whether one of them is similar to this prompt."""
        prompt = text_features(asked(tuple(messages)))
        return any(similarity(prompt, success) >= SAME_KIND for success in self.prompts)


def successes(events: Iterable[KeptEvent], history: History) -> Successes:
    """The prompts of the events that are successes, at most the newest `_SUCCESSES_MAX`."""
    events_of_success = [kept.event for kept in events if _is_success(kept.event)][-_SUCCESSES_MAX:]
    return Successes(
        prompts=tuple(text_features(asked(history.about(event).messages)) for event in events_of_success)
    )


def _is_success(event: Event) -> bool:
    if event.kind is Kind.OUTCOME:
        return event.amends is None and float(event.data["value"]) > 0.0
    return event.kind in (*CORRECTING, Kind.TAKEOVER, Kind.APPROVE)
