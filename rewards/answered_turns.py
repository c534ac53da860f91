"""The turns of a captured conversation: of several answers to one turn, the one that it went on with."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ledger.events import Interaction
from rewards.episode import Message
from rewards.replies import Reply, is_same_reply


def answered_turns(interactions: Iterable[Interaction]) -> dict[int, Interaction]:
    """The agent's answers by the number of their turn, from interactions in order.

    Of a turn that was asked again the last answer counts. Of several choices of one request it is the one
    that a later prompt of the conversation repeats. Where none does, nobody knows which one was used: the
    turn is left out.
    """
    by_turn: dict[int, list[Interaction]] = defaultdict(list)
    for interaction in interactions:
        by_turn[turn_of(interaction)].append(interaction)
    answered = {}
    for number, answers in by_turn.items():
        if is_one_of_several(answers[-1]):
            later = [later for other in by_turn if other > number for later in by_turn[other]]
            answers = [choice for choice in answers if any(_goes_on_with(choice, after) for after in later)]
        if answers:
            answered[number] = answers[-1]
    return answered


def said_by(interaction: Interaction) -> Reply:
    """The agent's reply in an interaction."""
    return interaction.reply or interaction.completion


def turn_of(interaction: Interaction) -> int:
    """The number of the interaction's turn in its conversation, from 0."""
    return assistant_turns(interaction.messages) if interaction.turn is None else interaction.turn


def assistant_turns(messages: Sequence[Message]) -> int:
    """How often the agent has spoken in these messages."""
    return sum(message.get("role") == "assistant" for message in messages)


def is_one_of_several(interaction: Interaction) -> bool:
    """Whether the request asked for several answers (`n`), of which people see one or choose one."""
    return bool(interaction.sampling.get("n", 1) != 1)


def _goes_on_with(choice: Interaction, after: Interaction) -> bool:
    spoken = (message for message in after.messages if message.get("role") == "assistant")
    return any(is_same_reply(message, said_by(choice)) for message in spoken)
