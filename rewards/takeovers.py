"""The turns of a takeover: which of them are the operator's, and why one of those cannot be taught.

Tool results and user turns are read by the agent, never learned. A turn that cannot be taught stays in the
prompts of the turns after it: it was said.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


def operator_turns(event: Event, request: Mapping[str, Any]) -> tuple[OperatorTurn, ...]:
    """The operator's turns in order; `request` is what the agent was asked with, its tools above all."""
    turns: Sequence[Message] = tuple(event.data.get("turns") or ())
    return tuple(
        OperatorTurn(
            place=place, before=tuple(turns[:place]), said=with_thought(turn), flaw=_flaw(turn, request)
        )
        for place, turn in enumerate(turns)
        if turn.get("role") == "assistant"
    )


def flaws_of(turns: Iterable[OperatorTurn]) -> tuple[str, ...]:
    """What is not taught of a takeover, in words: the place among its turns, and why."""
    return tuple(f"turns.{turn.place} {turn.flaw}" for turn in turns if turn.flaw is not None)


def _flaw(turn: Message, request: Mapping[str, Any]) -> str | None:
    if not reply_text(turn).strip():
        return SILENT
    return uncallable(turn, request)
