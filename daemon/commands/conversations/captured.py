"""Reads the captured turns of a conversation, for a person who picks one of them."""

from daemon.commands.ledger import reading
from daemon.settings import Settings
from ledger.learning import event_queries
from rewards.answered_turns import said_by, turn_of
from rewards.replies import reply_text

Line = tuple[int | None, str, str]
"""The number of the agent's turn (None: somebody else's), the role, and what was said."""


def captured_turns(settings: Settings, agent: str, conversation: str) -> list[Line]:
    """What came before each captured turn of the agent, and the turn; empty where none is captured.

    Raises `CommandFailed` where there is no ledger.
    """
    with reading(settings) as connection:
        interactions = event_queries.conversation(connection, agent, conversation)
    lines: list[Line] = []
    for interaction in sorted(interactions, key=turn_of):
        asked = [message for message in interaction.messages if message.get("role") != "assistant"][-1:]
        lines += [(None, str(message.get("role")), reply_text(message)) for message in asked]
        lines.append((turn_of(interaction), "assistant", reply_text(said_by(interaction))))
    return lines
