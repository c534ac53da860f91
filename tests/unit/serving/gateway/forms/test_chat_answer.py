"""What a replica answers is checked before anything is done with it, and passed on as it was."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.gateway.edge.json_text import encode_now
from serving.gateway.forms.chat import ChatForm, TextForm
from serving.gateway.openai_form import RequestedExtras, UnreadableReply

ALL = RequestedExtras(token_ids=True, logprobs=True)
NONE = RequestedExtras(token_ids=False, logprobs=False)

GARBLED = [
    b"",
    b"<html>",
    b"\xff",
    b"[" * 200_000,
    b"[]",
    b'{"choices": 7}',
    b'{"choices": [7]}',
    b'{"choices": [{"delta": 7}]}',
    b'{"choices": [{"message": {"content": 7}}]}',
    b'{"choices": [{"message": {"content": "\\ud800"}}]}',
    b'{"choices": [{"message": {"content": "\\uD800"}}]}',
    b'{"choices": [{"token_ids": 7}]}',
    b'{"choices": [{"token_ids": ["a"]}]}',
    b'{"choices": [{"logprobs": []}, {"logprobs": 7}]}',
    b'{"choices": [{"logprobs": {"content": [{}]}}]}',
    b'{"choices": [{"logprobs": {"content": [{"logprob": NaN}]}}]}',
    b'{"choices": [{"index": [1]}]}',
    b'{"choices": [{"index": true}]}',
    b'{"choices": [{"index": -1}]}',
    b'{"choices": [], "usage": {"total_tokens": Infinity}}',
    b'{"choices": [], "unknown": "\xff"}',
    b'{"choices": [], "unknown": [1,]}',
    b'{"choices": [{"unknown": 01}]}',
    b'{"choices": [{}], "prompt_token_ids": 7}',
    b'{"choices": [{}], "prompt_token_ids": [-1]}',
    b'{"choices": [{}], "prompt_token_ids": [1.5]}',
    b'{"choices": [{}], "prompt_token_ids": [[1]]}',
    b'{"choices": [{}], "prompt_token_ids": ["1"]}',
]


@pytest.mark.parametrize("words", GARBLED, ids=lambda words: str(words[:60]))
def test_an_answer_in_another_form_is_unreadable(words: bytes) -> None:
    for read in (ChatForm().read_answer, ChatForm().read_event):
        with pytest.raises(UnreadableReply):
            read(words)


@pytest.mark.parametrize("words", [b"{}", b'{"choices": []}', b'{"choices": null, "error": {"code": 500}}'])
def test_only_a_chunk_may_come_without_choices(words: bytes) -> None:
    event = ChatForm().read_event(words)
    assert event is not None
    assert json.loads(encode_now(event.data)) == json.loads(words)
    with pytest.raises(UnreadableReply):
        ChatForm().read_answer(words)


@pytest.mark.parametrize(
    "words",
    [
        b'{"choices": [{"message": {"content": null, "tool_calls": [{}]}, "logprobs": null}]}',
        b'{"choices": [{"delta": {}, "token_ids": null, "finish_reason": "stop"}]}',
        b'{"choices": [{"delta": {"content": "\\ud83d\\ude00"},"logprobs": {"content": [{"logprob": 0}]}}]}',
        b'{"choices": [{"message": {"content": "x", "audio": {"id": 1e3}}, "new": [{}]}], "usage": {"n": 7}}',
        b'{"choices": [{"token_ids": [7]}], "prompt_token_ids": [1, 2]}',
    ],
)
def test_what_vllm_answers_is_passed_on_as_it_was(words: bytes) -> None:
    part = ChatForm().read_answer(words)
    ChatForm().show(part.data, "billing", ALL)
    assert json.loads(encode_now(part.data)) == json.loads(words)


def test_text_completions_are_given_as_chats() -> None:
    logprobs = {"tokens": ["x", "y"], "token_logprobs": [None, -0.5], "text_offset": [0, 1]}
    choice = {"text": "xy", "logprobs": logprobs, "token_ids": [5, 6], "prompt_token_ids": [1, 2]}
    part = TextForm().read_answer(json.dumps({"choices": [choice]}).encode())
    [shown] = part.choices
    assert shown["message"] == {"content": "xy"}
    assert shown["logprobs"] == {"content": [{"logprob": -0.5}]}
    assert part.chat["prompt_token_ids"] == b"[1, 2]"
    TextForm().show(part.data, "billing", NONE)
    left_out = {"logprobs": None, "token_ids": None, "prompt_token_ids": None}
    assert json.loads(encode_now(part.data)) == {"choices": [choice | left_out]}


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(more=st.dictionaries(st.text(max_size=4), _VALUES, max_size=3), choice=_VALUES)
def test_fields_that_the_gateway_does_not_know_are_passed_on(more: dict[str, Any], choice: Any) -> None:
    answer = {**more, "choices": [{"index": 0, "new": choice, "message": {"new": choice}}]}
    part = ChatForm().read_answer(json.dumps(answer).encode())
    assert json.loads(encode_now(part.data)) == answer


def test_the_ids_of_a_prompt_are_not_made_into_numbers() -> None:
    ids = b"[" + b"123456, " * 400_000 + b"7]"
    part = ChatForm().read_answer(b'{"choices": [{"message": {}}], "prompt_token_ids": %s}' % ids)
    assert part.chat["prompt_token_ids"] == ids
    assert not isinstance(part.data["prompt_token_ids"], list)
