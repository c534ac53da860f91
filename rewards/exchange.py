"""Finds what an event is about: the prompt, the agent's reply, and the sampled tokens if they were captured.

An event's own texts take precedence over the interaction that it names; the interaction supplies the rest.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from feedback import token_ids
from feedback.grouping import normalise
from feedback.token_ids import IdsLeftOut
from ledger.events import Event, Interaction, Kind, Role
from rewards.answered_turns import answered_turns, assistant_turns, said_by, turn_of
from rewards.episode import Message, SampledTokens, text_of
from rewards.replies import Reply, calls_of, compared_text, is_same_reply, reply_text, said_in

_OWN_REQUEST = ("tools", "chat_template_kwargs")
_WHY_NO_IDS = {
    None: "were not captured by the gateway of that time",
    IdsLeftOut.REDACTED: "were left out, because redaction changed the texts",
    IdsLeftOut.TOO_LARGE: "did not fit into Kafka's limits",
    IdsLeftOut.NOT_REPORTED: "were not reported by the replica",
}
_RIGHT = {Kind.APPROVE: "said", Kind.CORRECTION: "corrected", Kind.OVERRIDE: "corrected"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A prompt and the agent's reply, as far as they are known."""

    messages: tuple[Message, ...]  # empty where unknown
    said: Reply | None  # the agent's reply
    sampled: SampledTokens | None  # only if this reply was sampled for this prompt, from all tokens
    sampled_for: tuple[Message, ...]  # the prompt as it was when the tokens were sampled
    sampled_ids: tuple[int, ...] = ()  # of this reply, also where only some tokens could be sampled
    packed_prompt: bytes | None = None  # the ids of the prompt that was served, if `messages` are that prompt
    served_prompt: bytes | None = None  # the ids of the prompt that the tokens were sampled for
    request: Mapping[str, Any] = field(default_factory=dict)  # tools and other fields of the prompt's request
    restrictions: tuple[str, ...] = ()  # why only some tokens could be sampled
    turn: int  # which of the conversation's agent turns, from 0
    conversation: str | None

    @property
    def reply(self) -> str | None:
        """What is compared of the agent's reply (`rewards.replies.reply_text`)."""
        return None if self.said is None else reply_text(self.said)

    def as_sampled(self) -> "Exchange":
        """The exchange with the prompt as it was when the reply was sampled, where that is known."""
        if not self.sampled_ids:
            return self
        return replace(self, messages=self.sampled_for, packed_prompt=self.served_prompt)

    @property
    def prompt_ids(self) -> tuple[int, ...]:
        """The prompt `messages` as it was served, token by token; empty where it is not known."""
        return _unpacked(self.packed_prompt)

    @property
    def sampled_prompt_ids(self) -> tuple[int, ...]:
        """The prompt `sampled_for` as it was served, token by token; empty where it is not known."""
        return _unpacked(self.served_prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The captured interactions of an agent."""

    interactions: Mapping[str, Interaction]  # by id
    conversations: Mapping[str, Sequence[Interaction]]  # by name, oldest first
    stale: Mapping[str, str] = field(default_factory=dict)  # versions too old to learn from, and why, by name

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
        said = event.data.get("rejected") or event.data.get("said") or (said_by(named) if named else None)
        turn = turn_of(named) if named else assistant_turns(messages)
        exchange = Exchange(
            messages=messages,
            said=said,
            sampled=None,
            sampled_for=messages,
            request={**(named.request if named else {}), **_own_request(event)},
            turn=turn if event.turn is None else event.turn,
            conversation=event.conversation or (named.conversation if named else None),
        )
        if named is None or not messages or not _is_asked_alike(event, named):
            return exchange
        is_as_captured = has_same_texts(messages, named.messages)
        if is_as_captured:
            exchange = replace(exchange, packed_prompt=named.packed_prompt)
        elif not is_same_prompt(messages, named.messages):
            return exchange
        if said is None or not is_same_reply(said, said_by(named)):
            return exchange
        return replace(
            exchange,
            sampled=None if named.restrictions else _sampled_tokens(named),
            sampled_for=messages if is_as_captured else named.messages,
            sampled_ids=named.token_ids or (),
            served_prompt=named.packed_prompt,
            restrictions=named.restrictions,
        )

    def after(self, event: Event, exchange: Exchange, turns: Sequence[Message]) -> Exchange:
        """The exchange after more turns of its conversation.

        Its prompt is the captured one where a request of the conversation had just these messages and tools;
        else nobody served it.
        """
        if not turns:
            return exchange
        messages = (*exchange.messages, *turns)
        captures = self.conversations.get(exchange.conversation, ()) if exchange.conversation else ()
        served = next(
            (
                capture
                for capture in captures
                if capture.agent == event.agent
                and has_same_texts(messages, capture.messages)
                and all(capture.request.get(name) == exchange.request.get(name) for name in _OWN_REQUEST)
            ),
            None,
        )
        return replace(
            exchange, messages=messages, packed_prompt=None if served is None else served.packed_prompt
        )

    def prompt_of(self, event: Event) -> str:
        """How the prompt of an event is known, in words: as it was served, or rendered again, and why."""
        exchange, named = self.about(event), self._named(event)
        if not exchange.messages:
            return "not known"
        if exchange.packed_prompt is not None:
            return f"as it was served, {len(exchange.prompt_ids)} tokens"
        if named is None:
            return "rendered from the event's messages"
        if event.data.get("messages") and not has_same_texts(exchange.messages, named.messages):
            return "rendered from the event's messages: another prompt than the captured one"
        if not _is_asked_alike(event, named):
            return "rendered with the event's tools: other ones than those captured"
        return f"rendered from the captured messages: token ids {_why_no_ids(named)}"

    def right_reply(self, event: Event) -> str | None:
        """What is compared of the reply that this event wants: the approved or the corrected one."""
        reply = self.wanted(event)
        return None if reply is None else compared_text(reply)

    def wanted(self, event: Event) -> Reply | None:
        """The reply that this event wants: the approved or the corrected one."""
        name = _RIGHT.get(event.kind)
        return None if name is None else event.data.get(name) or self.about(event).said

    def creditable_turns(self, event: Event, about: Exchange) -> dict[int, Exchange]:
        """The turns of the event's conversation whose sampled tokens are known, by number and in order.

        Only turns that were sampled from all tokens, and only turns of role `train`: requests of one
        conversation may have different prompt groups.
        """
        interactions = self._captured(event, about.conversation)
        return {
            number: Exchange(
                messages=interaction.messages,
                said=said_by(interaction),
                sampled=_sampled_tokens(interaction),
                sampled_for=interaction.messages,
                sampled_ids=interaction.token_ids or (),
                packed_prompt=interaction.packed_prompt,
                served_prompt=interaction.packed_prompt,
                request=interaction.request,
                turn=number,
                conversation=interaction.conversation,
            )
            for number, interaction in sorted(interactions.items())
            if interaction.role is Role.TRAIN and interaction.messages
            if not interaction.restrictions and _sampled_tokens(interaction)
        }

    def _named(self, event: Event) -> Interaction | None:
        """The interaction that the event names, or that of its conversation's turn; never another agent's.

        An event that names a conversation alone is about its last turn, if that has the event's role.
        """
        if event.interaction is not None:
            interaction = self.interactions.get(event.interaction)
            return interaction if interaction and interaction.agent == event.agent else None
        if event.turn is None and not is_about_conversation(event):
            return None
        captured = self._captured(event, event.conversation)
        if event.turn is not None:
            return captured.get(event.turn)
        last = captured[max(captured)] if captured else None
        return last if last is not None and last.role is event.role else None

    def _captured(self, event: Event, conversation: str | None) -> dict[int, Interaction]:
        """The agent's interactions by turn number."""
        interactions = self.conversations.get(conversation, ()) if conversation else ()
        return answered_turns(each for each in interactions if each.agent == event.agent)


def has_same_texts(own: Sequence[Message], captured: Sequence[Message]) -> bool:
    """Whether two prompts are the same, message by message."""
    return len(own) == len(captured) and all(
        message.get("role") == other.get("role") and said_in(message) == said_in(other)
        for message, other in zip(own, captured, strict=True)
    )


def is_about_conversation(event: Event) -> bool:
    """Whether the event names a conversation, and nothing that was said in it."""
    names_more = event.interaction or event.turn is not None or event.data.get("messages")
    return event.conversation is not None and not names_more


def asked(messages: Sequence[Message]) -> str:
    """The text of users and tools in this prompt, without system messages and the agent's own replies."""
    return "\n".join(
        text_of(message) for message in messages if message.get("role") in ("user", "tool", "function")
    )


def prompt_key(messages: Sequence[Message]) -> tuple[str, ...]:
    """Equal for the same prompt: every role, every text, normalised as for prompt groups, and every call.

    Other fields do not count: clients add and drop them.
    """
    return tuple(
        f"{message.get('role')} {normalise(text_of(message))}{_called_in(message)}" for message in messages
    )


def is_same_prompt(prompt: Sequence[Message], other: Sequence[Message]) -> bool:
    """Whether two prompts differ in case, white space and compatible characters at most."""
    return prompt_key(prompt) == prompt_key(other)


def _sampled_tokens(interaction: Interaction) -> SampledTokens | None:
    ids, logprobs = interaction.token_ids, interaction.logprobs
    if not ids or not logprobs or len(ids) != len(logprobs):
        return None  # captured without them, or redaction changed the text
    return SampledTokens(
        token_ids=ids,
        logprobs=logprobs,
        version=interaction.version,
        temperature=_temperature(interaction.sampling),
    )


def _temperature(sampling: Mapping[str, Any]) -> float:
    """The temperature of the request; vLLM's default is 1."""
    value = sampling.get("temperature")
    return float(value) if isinstance(value, int | float) else 1.0


def _called_in(message: Message) -> str:
    calls = calls_of(message)
    return f" {json.dumps(calls, sort_keys=True)}" if calls else ""


def _own_request(event: Event) -> dict[str, Any]:
    """The fields of the request that the event itself gives."""
    return {name: event.data[name] for name in _OWN_REQUEST if event.data.get(name) is not None}


def _is_asked_alike(event: Event, named: Interaction) -> bool:
    """Whether the event says nothing else about the request than what was captured of it."""
    return all(named.request.get(name) == value for name, value in _own_request(event).items())


def _unpacked(packed_prompt: bytes | None) -> tuple[int, ...]:
    return () if packed_prompt is None else token_ids.unpack(packed_prompt)


def _why_no_ids(interaction: Interaction) -> str:
    reason = interaction.ids_left_out
    return _WHY_NO_IDS[None if reason is None else IdsLeftOut(reason)]
