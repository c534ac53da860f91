"""What an event is about: the prompt, what the agent said to it, and the tokens if they were captured.

An event's own texts win over the interaction it names; the interaction fills in what the event left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from feedback.grouping import normalise
from ledger.events import Event, Interaction, Kind, Role
from rewards.episode import Message, Spoken, text_of

_RIGHT = {Kind.APPROVE: "said", Kind.CORRECTION: "corrected", Kind.OVERRIDE: "corrected"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A prompt and what the agent said to it, as far as anybody knows."""

    messages: tuple[Message, ...]  # empty where nobody knows
    said: str | None
    spoken: Spoken | None  # only where these words are what was sampled for this prompt
    spoken_to: tuple[Message, ...]  # the prompt as it was when the tokens were sampled
    turn: int  # which of the conversation's agent turns, from 0
    conversation: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What was captured of an agent's work."""

    interactions: Mapping[str, Interaction]  # by id
    conversations: Mapping[str, Sequence[Interaction]]  # by name, oldest first

    def about(self, event: Event) -> Exchange:
        """The exchange the event is about."""
        named = self._named(event)
        own = tuple(event.data.get("messages") or ())
        messages = own or (named.messages if named else ())
        said = event.data.get("rejected") or event.data.get("said") or (named.completion if named else None)
        spoken, spoken_to = None, messages
        if named and messages and said == named.completion and is_same_prompt(messages, named.messages):
            spoken = _spoken(named)
            spoken_to = messages if _has_same_texts(messages, named.messages) else named.messages
        turn = _turn_of(named) if named else _assistant_turns(messages)
        return Exchange(
            messages=messages,
            said=said,
            spoken=spoken,
            spoken_to=spoken_to,
            turn=turn if event.turn is None else event.turn,
            conversation=event.conversation or (named.conversation if named else None),
        )

    def right_reply(self, event: Event) -> str | None:
        """What the agent should say to the prompt by this event alone: what was approved or corrected to."""
        field = _RIGHT.get(event.kind)
        return None if field is None else event.data.get(field) or self.about(event).said

    def creditable_turns(self, event: Event, about: Exchange) -> dict[int, Exchange]:
        """Turns of the event's conversation by number, in order, of which the sampled tokens are known.

        Only of role `train`: each request of a row of one-turn requests has a prompt group of its own.
        """
        captured = self._captured(event, about.conversation)
        return {
            number: Exchange(
                messages=said.messages,
                said=said.completion,
                spoken=_spoken(said),
                spoken_to=said.messages,
                turn=number,
                conversation=said.conversation,
            )
            for number, said in sorted(captured.items())
            if said.role is Role.TRAIN and said.messages and _spoken(said)
        }

    def _named(self, event: Event) -> Interaction | None:
        """The interaction the event names, or that of its conversation's turn; never another agent's."""
        if event.interaction is not None:
            found = self.interactions.get(event.interaction)
            return found if found and found.agent == event.agent else None
        return None if event.turn is None else self._captured(event, event.conversation).get(event.turn)

    def _captured(self, event: Event, conversation: str | None) -> dict[int, Interaction]:
        """The agent's turns by number; of a turn that was tried again, the last try."""
        found = self.conversations.get(conversation, ()) if conversation else ()
        return {_turn_of(said): said for said in found if said.agent == event.agent}


def asked(messages: Sequence[Message]) -> str:
    """What the agent was told in this prompt by users and tools, system message and its own words aside."""
    return "\n".join(text_of(one) for one in messages if one.get("role") in ("user", "tool", "function"))


def prompt_key(messages: Sequence[Message]) -> tuple[str, ...]:
    """Equal for the same prompt: every role and every text, normalised as for prompt groups.

    Other fields do not count: clients add and drop them.
    """
    return tuple(f"{message.get('role')} {normalise(text_of(message))}" for message in messages)


def is_same_prompt(one: Sequence[Message], other: Sequence[Message]) -> bool:
    """Whether two prompts differ in case, white space and compatible characters at most."""
    return prompt_key(one) == prompt_key(other)


def _turn_of(interaction: Interaction) -> int:
    return _assistant_turns(interaction.messages) if interaction.turn is None else interaction.turn


def _assistant_turns(messages: Sequence[Message]) -> int:
    return sum(message.get("role") == "assistant" for message in messages)


def _spoken(interaction: Interaction) -> Spoken | None:
    token_ids, logprobs = interaction.token_ids, interaction.logprobs
    if not token_ids or not logprobs or len(token_ids) != len(logprobs):
        return None  # captured without them, or redaction changed the text
    return Spoken(token_ids=token_ids, logprobs=logprobs)


def _has_same_texts(own: Sequence[Message], captured: Sequence[Message]) -> bool:
    return [text_of(message) for message in own] == [text_of(message) for message in captured]
