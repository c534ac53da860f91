"""What lines of fine-tuning files become: corrections, approvals, or a reason, always under the same ids."""

import io
import json
from typing import Any

import pytest

from feedback.envelope import VALUE_BYTES_MAX
from feedback.training_files import ImportOptions, LineRefused, events_of_line, lines_of
from feedback.wire import TYPES
from rewards.replies import reply_text

OPTIONS = ImportOptions(agent="billing", author="ann")
TOOLS = [{"type": "function", "function": {"name": "cancel", "parameters": {"type": "object"}}}]
ASK = {"role": "user", "content": "cancel 1042"}
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "cancel", "arguments": '{"order": 1042}'}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "done"}


def line(**example: Any) -> bytes:
    return json.dumps(example).encode()


def data_of(raw: bytes, options: ImportOptions = OPTIONS) -> list[dict[str, Any]]:
    events = events_of_line(raw, options)
    for event in events:
        TYPES[event.type].model_validate(event.data)
    return [dict(event.data) for event in events]


def test_a_conversation_teaches_its_assistant_message() -> None:
    system = {"role": "system", "content": "Be brief."}
    [data] = data_of(line(messages=[system, ASK, {"role": "assistant", "content": "Cancelled."}]))
    assert data == {
        "agent": "billing",
        "author": "ann",
        "messages": [system, ASK],
        "corrected": "Cancelled.",
    }


def test_every_assistant_message_of_a_conversation_is_learned_with_what_came_before() -> None:
    messages = [ASK, CALL, RESULT, {"role": "assistant", "content": "Cancelled."}]
    first, second = data_of(line(messages=messages, tools=TOOLS, parallel_tool_calls=False))
    assert (first["messages"], reply_text(first["corrected"])) == (messages[:1], reply_text(CALL))
    assert (second["messages"], second["corrected"]) == (messages[:3], "Cancelled.")
    assert first["tools"] == second["tools"] == TOOLS


def test_messages_of_weight_zero_are_read_and_not_learned() -> None:
    messages = [
        ASK,
        {"role": "assistant", "content": "no", "weight": 0},
        {"role": "user", "content": "why?"},
        {"role": "assistant", "content": "It is sent.", "weight": 1},
    ]
    [data] = data_of(line(messages=messages))
    assert data["corrected"] == "It is sent."
    assert data["messages"] == [ASK, {"role": "assistant", "content": "no"}, messages[2]]


def test_conversations_can_be_the_agents_own_good_replies() -> None:
    options = ImportOptions(agent="billing", author="ann", conversations="approvals")
    [data] = data_of(line(messages=[ASK, {"role": "assistant", "content": "Cancelled."}]), options)
    assert (data["action"], data["said"]) == ("approve", "Cancelled.")


def test_a_preference_pair_is_a_correction() -> None:
    [data] = data_of(
        line(
            input={"messages": [ASK], "tools": TOOLS, "parallel_tool_calls": True},
            preferred_output=[CALL],
            non_preferred_output=[
                {"role": "assistant", "content": [{"type": "text", "text": "I refund it."}]}
            ],
        )
    )
    assert (data["messages"], data["tools"], data["rejected"]) == ([ASK], TOOLS, "I refund it.")
    assert reply_text(data["corrected"]) == reply_text(CALL)


def test_ids_follow_from_the_content_in_any_spelling() -> None:
    one = b'{"messages": [{"role": "user", "content": "\\u00fc"}, {"role": "assistant", "content": "x"}]}'
    same = '{"messages":[{"content":"ü","role":"user"},{"content":"x","role":"assistant"}]}'.encode()
    [first], [second] = events_of_line(one, OPTIONS), events_of_line(same, OPTIONS)
    assert first.id == second.id
    others = [
        events_of_line(one.replace(b'"x"', b'"y"'), OPTIONS),
        events_of_line(one, ImportOptions(agent="other", author="ann")),
        events_of_line(one, ImportOptions(agent="billing", author="bob")),
        events_of_line(one, ImportOptions(agent="billing", author="ann", conversations="approvals")),
    ]
    assert len({first.id, *(events[0].id for events in others)}) == 5


REPLY = {"role": "assistant", "content": "secret"}


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "oversized"),
        (b"{", "invalid_json"),
        (b"\xff", "invalid_utf8"),
        (b"[" * 100 + b"]" * 100, "too_deep"),
        (b"[1]", "no JSON object"),
        (b"{}", "needs messages, or input"),
        (line(prompt="secret", completion="secret"), "needs messages, or input"),
        (line(messages="secret"), "messages: no list"),
        (line(messages=[]), "messages: no list"),
        (line(messages=[ASK]), "no assistant message"),
        (line(messages=[REPLY]), "no assistant message"),
        (line(messages=[ASK, REPLY | {"weight": 0}]), "no assistant message"),
        (line(messages=[{"role": "wizard", "content": "secret"}, REPLY]), "role"),
        (line(messages=[ASK, {"role": "assistant", "content": ""}]), "without a text"),
        (line(messages=[ASK, {"role": "assistant", "content": [{"type": "image_url"}]}]), "no text"),
        (line(messages=[ASK, REPLY], functions=[{"name": "secret"}]), "write tools"),
        (line(messages=[ASK, CALL], tools=[]), None),
        (line(messages=[ASK, CALL], tools=[{"type": "function", "function": {"name": "x"}}]), "tools"),
        (line(messages=[RESULT, ASK, REPLY], tools=TOOLS), "without its call"),
        (line(preferred_output=[REPLY], non_preferred_output=[REPLY]), "input: no object"),
        (
            line(input={"messages": [ASK]}, preferred_output=[REPLY], non_preferred_output=[REPLY]),
            "the same",
        ),
        (line(input={"messages": [ASK]}, preferred_output=[REPLY, REPLY]), "preferred_output"),
        (line(input={"messages": [ASK]}, preferred_output=[REPLY]), "non_preferred_output"),
        (line(input={}, preferred_output=[REPLY], non_preferred_output=[CALL]), "input.messages"),
    ],
)
def test_a_line_that_teaches_nothing_is_refused_and_not_quoted(raw: bytes | None, reason: str | None) -> None:
    if reason is None:
        assert len(data_of(raw or b"")) == 1
        return
    with pytest.raises(LineRefused, match=reason) as refused:
        events_of_line(raw, OPTIONS)
    assert "secret" not in str(refused.value)


def test_blank_lines_do_not_count_and_a_long_one_is_passed_over_whole() -> None:
    long = b"x" * (3 * VALUE_BYTES_MAX)
    file = io.BytesIO(b"\xef\xbb\xbfone\r\n\n  \n" + long + b"\ntwo\n" + long)
    assert list(lines_of(file)) == [b"\xef\xbb\xbfone", None, b"two", None]
