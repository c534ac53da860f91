"""Events of a chat's stream as servers beside vLLM write them."""

import json

import pytest

from serving.gateway.forms.chat import ChatForm

CHUNK = {"choices": [{"index": 0, "delta": {"content": "a\u2028b\u2029c\u0085d"}, "finish_reason": None}]}


@pytest.mark.parametrize("last", [b"[DONE]", b"[DONE] ", b" [DONE]\t", b"[DONE]\n"])
def test_a_stream_ends_with_its_mark_whatever_white_space_is_beside_it(last: bytes) -> None:
    assert ChatForm().read_event(last) is None


def test_an_error_in_vllms_older_form_is_an_error() -> None:
    error = {"object": "error", "message": "out of memory", "type": "BadRequestError", "code": 400}
    event = ChatForm().read_event(json.dumps(error).encode())
    assert event is not None
    assert event.error_status == 400


def test_an_event_of_several_lines_is_shown_as_one() -> None:
    event = ChatForm().read_event(json.dumps(CHUNK, indent=1).encode())
    assert event is not None
    sent = ChatForm().encode_event(event.data).decode()
    assert sent.count("\n") == 2
    assert json.loads(sent.removeprefix("data: ")) == CHUNK


def test_an_event_is_one_line_for_clients_that_know_more_line_ends_than_the_standard() -> None:
    sent = ChatForm().encode_event(CHUNK).decode()
    assert len(sent.splitlines()) == 2, "the data, and the empty line that ends the event"
    assert json.loads(sent.removeprefix("data: ")) == CHUNK
