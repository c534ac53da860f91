"""What a replica says is checked before anything is done with it."""

import pytest

from serving.gateway.openai_form import Garbled, answer_in, chunk_in, json_in

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
    b'{"choices": [], "usage": {"total_tokens": Infinity}}',
]


@pytest.mark.parametrize("words", GARBLED, ids=lambda words: str(words[:60]))
def test_what_is_no_answer_is_not_taken_for_one(words: bytes) -> None:
    for read in (answer_in, chunk_in):
        with pytest.raises(Garbled):
            read(words)


@pytest.mark.parametrize("words", [b"{}", b'{"choices": []}', b'{"choices": null, "error": {"code": 500}}'])
def test_only_a_chunk_may_come_without_choices(words: bytes) -> None:
    assert isinstance(chunk_in(words), dict)
    with pytest.raises(Garbled):
        answer_in(words)


@pytest.mark.parametrize(
    "words",
    [
        b'{"choices": [{"text": "x", "logprobs": {"tokens": ["x"], "token_logprobs": [null]}}]}',
        b'{"choices": [{"message": {"content": null, "tool_calls": [{}]}, "logprobs": null}]}',
        b'{"choices": [{"delta": {}, "token_ids": null, "finish_reason": "stop"}]}',
        b'{"choices": [{"delta": {"content": "\\ud83d\\ude00"},"logprobs": {"content": [{"logprob": 0}]}}]}',
    ],
)
def test_what_vllm_says_is_taken(words: bytes) -> None:
    assert answer_in(words) == chunk_in(words) == json_in(words)
