"""Finds how a captured conversation went on after the prompt of an event."""

from collections.abc import Sequence

from ledger.database import Database
from ledger.events import SILENCE
from ledger.learning import event_queries
from rewards.answered_turns import said_by
from rewards.episode import Message
from rewards.exchange import has_same_texts
from rewards.replies import message_of


def recorded_after(database: Database, uid: str, messages: Sequence[Message]) -> tuple[Message, ...]:
    """What the agent said to this prompt, and all that was said later in the conversation.

    `uid` names an event, or a captured reply that nobody objected to. Empty where nothing of a conversation
    that begins with the prompt is captured.
    """
    with database.read() as connection:
        source, _, name = uid.partition("#")
        events = [] if source == SILENCE else event_queries.event_by_uid(connection, uid)
        ids = [name] if source == SILENCE else [kept.event.interaction or "" for kept in events]
        named = event_queries.interactions_named(connection, filter(None, ids))
        talks = {(kept.event.agent, kept.event.conversation) for kept in events}
        talks |= {(each.agent, each.conversation) for each in named.values()}
        captured = list(named.values())
        for agent, talk in talks:
            captured += event_queries.conversation(connection, agent, talk) if talk else []
    whole = [(*each.messages, message_of(said_by(each))) for each in captured]
    begun = [each for each in whole if has_same_texts(messages, each[: len(messages)])]
    return max(begun, key=len)[len(messages) :] if begun else ()
