"""Finds what an event is about: the prompt, the agent's reply, and the sampled tokens if they were captured.

An event's own texts take precedence over the interaction that it names; the interaction supplies the rest.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from feedback.grouping import normalise
from ledger.events import Event, Interaction, Kind, Role
from rewards.episode import Message, SampledTokens, text_of

_RIGHT = {Kind.APPROVE: "said", Kind.CORRECTION: "corrected", Kind.OVERRIDE: "corrected"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A prompt and the agent's reply, as far as they are known."""

    messages: tuple[Message, ...]  # empty where unknown
    reply: str | None
    sampled: SampledTokens | None  # only if this reply was sampled for this prompt
    sampled_for: tuple[Message, ...]  # the prompt as it was when the tokens were sampled
    turn: int  # which of the conversation's agent turns, from 0
    conversation: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The captured interactions of an agent."""

    interactions: Mapping[str, Interaction]  # by id
    conversations: Mapping[str, Sequence[Interaction]]  # by name, oldest first

    def including(self, captures: Iterable[Interaction]) -> "History":
        """The same history, and these captures."""
        return replace(
            self, interactions={**self.interactions, **{capture.id: capture for capture in captures}}
        )

    def about(self, event: Event) -> Exchange:
        """The exchange the event is about."""
        named = self._named(event)
        own = tuple(event.data.get("messages") or ())
        messages = own or (named.messages if named else ())
        reply = event.data.get("rejected") or event.data.get("said") or (named.completion if named else None)
        sampled, sampled_for = None, messages
        if named and messages and reply == named.completion and is_same_prompt(messages, named.messages):
            sampled = _sampled_tokens(named)
            sampled_for = messages if _has_same_texts(messages, named.messages) else named.messages
        turn = _turn_of(named) if named else _assistant_turns(messages)
        return Exchange(
            messages=messages,
            reply=reply,
            sampled=sampled,
            sampled_for=sampled_for,
            turn=turn if event.turn is None else event.turn,
            conversation=event.conversation or (named.conversation if named else None),
        )

    def right_reply(self, event: Event) -> str | None:
        """The reply that this event wants: the approved or the corrected one."""
        field = _RIGHT.get(event.kind)
        return None if field is None else event.data.get(field) or self.about(event).reply

    def had_more_than_text(self, event: Event) -> bool:
        """Whether the interaction that the event is about had tools, or an answer that is more than text."""
        named = self._named(event)
        return named is not None and bool(named.reply or named.request)

    def creditable_turns(self, event: Event, about: Exchange) -> dict[int, Exchange]:
        """The turns of the event's conversation whose sampled tokens are known, by number and in order.

        Only turns of role `train`: requests of one conversation may have different prompt groups.
        """
        interactions = self._captured(event, about.conversation)
        return {
            number: Exchange(
                messages=interaction.messages,
                reply=interaction.completion,
                sampled=_sampled_tokens(interaction),
                sampled_for=interaction.messages,
                turn=number,
                conversation=interaction.conversation,
            )
            for number, interaction in sorted(interactions.items())
            if interaction.role is Role.TRAIN and interaction.messages and _sampled_tokens(interaction)
        }

    def _named(self, event: Event) -> Interaction | None:
        """The interaction that the event names, or that of its conversation's turn; never another agent's."""
        if event.interaction is not None:
            interaction = self.interactions.get(event.interaction)
            return interaction if interaction and interaction.agent == event.agent else None
        return None if event.turn is None else self._captured(event, event.conversation).get(event.turn)

    def _captured(self, event: Event, conversation: str | None) -> dict[int, Interaction]:
        """The agent's interactions by turn number; of a repeated turn the last one."""
        interactions = self.conversations.get(conversation, ()) if conversation else ()
        return {
            _turn_of(interaction): interaction
            for interaction in interactions
            if interaction.agent == event.agent
        }


def asked(messages: Sequence[Message]) -> str:
    """The text of users and tools in this prompt, without system messages and the agent's own replies."""
    return "\n".join(
        text_of(message) for message in messages if message.get("role") in ("user", "tool", "function")
    )


def prompt_key(messages: Sequence[Message]) -> tuple[str, ...]:
    """Equal for the same prompt: every role and every text, normalised as for prompt groups.

    Other fields do not count: clients add and drop them.
    """
    return tuple(f"{message.get('role')} {normalise(text_of(message))}" for message in messages)


def is_same_prompt(prompt: Sequence[Message], other: Sequence[Message]) -> bool:
    """Whether two prompts differ in case, white space and compatible characters at most."""
    return prompt_key(prompt) == prompt_key(other)


def _turn_of(interaction: Interaction) -> int:
    return _assistant_turns(interaction.messages) if interaction.turn is None else interaction.turn


def _assistant_turns(messages: Sequence[Message]) -> int:
    return sum(message.get("role") == "assistant" for message in messages)


def _sampled_tokens(interaction: Interaction) -> SampledTokens | None:
    token_ids, logprobs = interaction.token_ids, interaction.logprobs
    if not token_ids or not logprobs or len(token_ids) != len(logprobs):
        return None  # captured without them, or redaction changed the text
    return SampledTokens(token_ids=token_ids, logprobs=logprobs)


def _has_same_texts(own: Sequence[Message], captured: Sequence[Message]) -> bool:
    return [text_of(message) for message in own] == [text_of(message) for message in captured]
