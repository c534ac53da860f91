"""A captured conversation goes on with another version as far as that can be known."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from rewards.replies import compared_text
from serving.replaying.replay import COMPLETE, OTHER_CALLS, REFUSED, TOO_MANY_TURNS, TURNS_MAX, Replay, replay


def says(text: str, role: str = "assistant") -> dict[str, Any]:
    return {"role": role, "content": text}


def calls(name: str, arguments: str, id: str = "c1") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": id, "type": "function", "function": function}],
    }


RESULT = {"role": "tool", "tool_call_id": "c1", "content": "3"}
RECORDED = [
    calls("stock", '{"item": "bolts"}'),
    RESULT,
    says("Three."),
    says("and nuts?", "user"),
    says("None."),
]


def played(first: Any, *later: Any, recorded: Sequence[Any] = RECORDED) -> tuple[Replay, list[int]]:
    """The replay of these answers, and how many messages there were before each later one."""
    answers, seen = list(later), []

    def say(messages: Sequence[Any]) -> str | None:
        seen.append(len(messages))
        return compared_text(answers.pop(0)) if answers else None

    return replay(compared_text(first), recorded, {}, say), seen


def test_the_user_and_the_tools_say_what_was_recorded() -> None:
    ended, seen = played(calls("stock", '{"item":"bolts"}', "other"), says("We have 3."), says("Sold out."))
    assert ended.ended == COMPLETE
    assert list(ended.messages) == [
        RECORDED[0],
        RESULT,
        says("We have 3."),
        RECORDED[3],
        says("Sold out."),
    ]
    assert seen == [2, 4]


@pytest.mark.parametrize(
    "answer", [calls("stock", '{"item": "nuts"}'), calls("price", "{}"), says("I do not know.")]
)
def test_it_stops_where_nobody_knows_what_a_tool_would_return(answer: Any) -> None:
    ended, seen = played(answer)
    assert (ended.ended, len(ended.messages), seen) == (OTHER_CALLS, 1, [])


def test_a_call_where_a_text_was_recorded_stops_it_too() -> None:
    ended, _ = played(calls("stock", "{}"), recorded=RECORDED[2:])
    assert ended.ended == OTHER_CALLS


def test_an_answer_after_which_nothing_was_recorded_is_the_whole_conversation() -> None:
    for recorded in ((), RECORDED[-1:]):
        ended, _ = played(says("Bye."), recorded=recorded)
        assert ended == Replay(messages=(says("Bye."),), ended=COMPLETE)


def test_a_prompt_that_the_replica_refuses_ends_it() -> None:
    ended, _ = played(says("Three."), recorded=RECORDED[2:])
    assert (ended.ended, list(ended.messages)) == (REFUSED, [says("Three."), RECORDED[3]])


def test_it_is_bounded_in_turns() -> None:
    recorded = [says("a"), says("b", "user")] * (TURNS_MAX + 2)
    ended, seen = played(*[says("a")] * (TURNS_MAX + 2), recorded=recorded)
    assert (ended.ended, len(seen)) == (TOO_MANY_TURNS, TURNS_MAX)


def test_arguments_stay_json_in_a_replayed_message() -> None:
    ended, _ = played(calls("price", '{"a": 1}'))
    [call] = ended.messages[0]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"a": 1}
