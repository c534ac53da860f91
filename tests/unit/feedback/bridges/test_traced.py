"""What is found in the traces of other tools, in the many forms that they have."""

import json
from typing import Any

import pytest

from feedback.bridges.traced import TracedAnswer, about_of, messages_in, reply_in

ASK = [{"role": "user", "content": "cancel"}]
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"function": {"name": "cancel", "arguments": "{}"}}],
}


@pytest.mark.parametrize(
    "metadata",
    [
        {"x-clorad-interaction": "i-1"},
        {"clorad.interaction": "i-1"},
        {"attributes": {"clorad.interaction": "i-1"}},
        {"metadata": '{"clorad_interaction": "i-1"}'},
        '{"tags": {"clorad.interaction": "i-1"}}',
    ],
)
def test_the_interaction_is_found_in_metadata(metadata: Any) -> None:
    assert about_of((None, "no json", [], metadata)).interaction == "i-1"


@pytest.mark.parametrize("metadata", [{"clorad.interaction": ""}, {"clorad.interaction": 7}, {}, None])
def test_without_one_there_is_none(metadata: Any) -> None:
    assert about_of((metadata,)) == TracedAnswer()


@pytest.mark.parametrize(
    ("asked", "messages"),
    [
        (ASK, ASK),
        ({"messages": ASK, "model": "x"}, ASK),
        (json.dumps({"messages": ASK}), ASK),
        ({"input": "cancel"}, ASK),
        ("cancel", ASK),
        ("{not json", [{"role": "user", "content": "{not json"}]),
        ("", None),
        (None, None),
        ([1], None),
        ([{"role": "wizard", "content": "x"}], None),
        ({"question": "cancel"}, ASK),
        ({"question": "cancel", "style": "short"}, None),
    ],
)
def test_a_prompt_is_read_in_usual_forms(asked: Any, messages: Any) -> None:
    assert messages_in(asked) == messages


@pytest.mark.parametrize(
    ("answered", "reply"),
    [
        ("no", "no"),
        ({"role": "assistant", "content": "no"}, "no"),
        ({"choices": [{"message": {"role": "assistant", "content": "no"}}]}, "no"),
        ({"messages": [*ASK, {"role": "assistant", "content": "no"}]}, "no"),
        ([CALL], CALL),
        (json.dumps(CALL), CALL),
        ({"role": "user", "content": "no"}, None),
        ({"choices": []}, None),
        ({"choices": ["x"]}, None),
        ("  ", None),
        ([], None),
        (7, None),
    ],
)
def test_a_reply_is_read_in_usual_forms(answered: Any, reply: Any) -> None:
    assert reply_in(answered) == reply


def test_tools_of_the_request_are_kept() -> None:
    tools = [{"type": "function", "function": {"name": "cancel"}}]
    assert about_of((), asked={"messages": ASK, "tools": tools}).tools == tools
    assert about_of((), asked={"messages": ASK, "tools": []}).tools is None
