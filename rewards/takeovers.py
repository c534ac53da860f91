"""The turns of a takeover: which of them are the operator's, and why one of those cannot be taught.

Tool results and user turns are read by the agent, never learned. A turn that cannot be taught stays in the
prompts of the turns after it: it was said.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feedback.reply_form import call_ids, is_result_of
from ledger.events import Event
from rewards.episode import Message
from rewards.replies import reply_text, uncallable, with_thought

SILENT = "says nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorTurn:
    """One turn of the operator."""

    place: int  # among the turns of the takeover
    before: tuple[Message, ...]  # the turns since the takeover
    said: Message
    flaw: str | None  # why it cannot be taught


def operator_turns(
    event: Event, messages: Iterable[Message], request: Mapping[str, Any]
) -> tuple[OperatorTurn, ...]:
    """The operator's turns in order, after these messages of a request."""
    turns: Sequence[Message] = tuple(event.data.get("turns") or ())
    said = []
    called = {id for message in messages for id in call_ids(message)}
    orphan: str | None = None
    for place, turn in enumerate(turns):
        called |= call_ids(turn)
        if turn.get("role") == "tool" and "tool_call_id" in turn and not is_result_of(turn, called):
            orphan = "follows a tool's result without its call"
        if turn.get("role") == "assistant":
            flaw = _flaw(turn, request) or orphan
            before = tuple(turns[:place])
            said.append(OperatorTurn(place=place, before=before, said=with_thought(turn), flaw=flaw))
    return tuple(said)


def flaws_of(turns: Iterable[OperatorTurn]) -> tuple[str, ...]:
    """What is not taught of a takeover, in words: the place among its turns, and why."""
    return tuple(f"turns.{turn.place} {turn.flaw}" for turn in turns if turn.flaw is not None)


def _flaw(turn: Message, request: Mapping[str, Any]) -> str | None:
    if not reply_text(turn).strip():
        return SILENT
    return uncallable(turn, request)
