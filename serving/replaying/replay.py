"""Replays the rest of a captured conversation with another version of its agent. Pure but for `say`.

The user's turns and the results of tools are those that were recorded, in order. So a replay can tell what
the version says to the same user, and which calls it makes. It cannot tell what the user would have said to
other answers, or what a tool would have returned to another call: it stops at the first call that is not the
recorded one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewards.episode import Message
from rewards.replies import message_in
from serving.scoring.tool_calls.comparison import are_same_calls
from serving.scoring.tool_calls.rules import call_rules

TURNS_MAX = 12
"""Turns of the agent in one replay, the first answer included."""

COMPLETE = "complete"
OTHER_CALLS = "other calls than recorded"
TOO_MANY_TURNS = f"more than {TURNS_MAX} turns"
REFUSED = "the replica refuses the prompt"
"""How a replay ends."""

Say = Callable[[Sequence[Message]], str | None]
"""What the version answers after these messages of the replay; None where its prompt is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What was said from the judged answer on, and how it ended."""

    messages: tuple[Message, ...]
    ended: str


def replay(answer: str, recorded: Sequence[Message], request: Mapping[str, Any], say: Say) -> Replay:
    """The conversation from this answer on. `recorded` begins with what the agent said in its place then."""
    rules, said, place = call_rules(request), list[Message](), 0
    text: str | None = answer
    for _ in range(TURNS_MAX):
        if text is None:
            return Replay(messages=tuple(said), ended=REFUSED)
        own = message_in(text)
        said.append(own)
        then = recorded[place] if place < len(recorded) else None
        if own.get("tool_calls") or (then is not None and then.get("tool_calls")):
            if then is None or not are_same_calls(own, then, rules):
                return Replay(messages=tuple(said), ended=OTHER_CALLS)
            said[-1] = then  # its results name its calls by their ids
        following = _up_to_next_turn(recorded[place + 1 :])
        if not following:
            return Replay(messages=tuple(said), ended=COMPLETE)
        said += following
        place += 1 + len(following)
        text = say(said)
    return Replay(messages=tuple(said), ended=TOO_MANY_TURNS)


def _up_to_next_turn(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages of users and tools before the agent's next turn; empty where there is none."""
    ends = next((n for n, message in enumerate(messages) if message.get("role") == "assistant"), 0)
    return messages[:ends]
