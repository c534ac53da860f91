"""What a replica says is checked before anything is done with it."""

from typing import Any

import pytest

from serving.gateway.openai_form import UnreadableReply, error_status, read_answer, read_chunk, read_json

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
]


@pytest.mark.parametrize("words", GARBLED, ids=lambda words: str(words[:60]))
def test_an_answer_in_another_form_is_unreadable(words: bytes) -> None:
    for read in (read_answer, read_chunk):
        with pytest.raises(UnreadableReply):
            read(words)


@pytest.mark.parametrize("words", [b"{}", b'{"choices": []}', b'{"choices": null, "error": {"code": 500}}'])
def test_only_a_chunk_may_come_without_choices(words: bytes) -> None:
    assert isinstance(read_chunk(words), dict)
    with pytest.raises(UnreadableReply):
        read_answer(words)


@pytest.mark.parametrize(
    "words",
    [
        b'{"choices": [{"text": "x", "logprobs": {"tokens": ["x"], "token_logprobs": [null]}}]}',
        b'{"choices": [{"message": {"content": null, "tool_calls": [{}]}, "logprobs": null}]}',
        b'{"choices": [{"delta": {}, "token_ids": null, "finish_reason": "stop"}]}',
        b'{"choices": [{"delta": {"content": "\\ud83d\\ude00"},"logprobs": {"content": [{"logprob": 0}]}}]}',
    ],
)
def test_what_vllm_answers_is_readable(words: bytes) -> None:
    assert read_answer(words) == read_chunk(words) == read_json(words)


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({"error": {"code": 404}}, 404),
        ({"error": {"code": "rate_limit"}}, 500),
        ({"error": "oh"}, 500),
        ({"error": {"code": 200}}, 500),
        ({"error": None, "choices": []}, None),
        ({"choices": []}, None),
    ],
)
def test_the_status_of_an_event_that_reports_an_error(event: dict[str, Any], status: int | None) -> None:
    assert error_status(event) == status
