"""How a replica is asked, and what is read of its answer."""

import pytest

from serving.answer_request import answer_request, said_in_choice

ASK = [{"role": "user", "content": "bolts?"}]


def test_a_chat_is_asked_with_its_messages_and_the_fields_of_its_request() -> None:
    assert answer_request(ASK, {"tools": []}) == ("/v1/chat/completions", {"tools": [], "messages": ASK})


def test_a_text_completion_is_asked_with_its_text_alone() -> None:
    asked = answer_request(ASK, {"plain_text": True, "add_special_tokens": False})
    assert asked == ("/v1/completions", {"prompt": "bolts?", "add_special_tokens": False})


def test_what_is_compared_of_a_choice() -> None:
    assert said_in_choice({"message": {"content": "no"}}) == said_in_choice({"text": "no"}) == "no"
    with pytest.raises(LookupError):
        said_in_choice({})
