"""Finds the events that want another reply to an event's prompt; none where its prompt is not known."""

from ledger.database import Connection
from ledger.events import CORRECTING, KeptEvent
from ledger.learning import contested
from ledger.learning.event_queries import interactions_named
from rewards.exchange import History, is_same_prompt
from rewards.replies import compared_text


def contradicting(connection: Connection, kept: KeptEvent) -> list[KeptEvent]:
    """The events of its kind and prompt group that want another reply to the very prompt of this one.

    Prompts that are not known are not the same: the prompt group alone says too little.
    """
    if kept.event.kind not in CORRECTING:
        return []
    beside = contested.beside_it(connection, kept)
    named = [item.event.interaction for item in (kept, *beside) if item.event.interaction]
    history = History(interactions=interactions_named(connection, named), conversations={})
    prompt = history.about(kept.event).messages
    return [
        other
        for other in beside
        if prompt
        and is_same_prompt(prompt, history.about(other.event).messages)
        and wanted_text(other) != wanted_text(kept)
    ]


def wanted_text(kept: KeptEvent) -> str:
    """What the event wants, without differences in white space."""
    return " ".join(compared_text(kept.event.data.get("corrected") or "").split())
