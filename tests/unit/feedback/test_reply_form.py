"""A reply on the wire is a text or an assistant message; what cannot be meant is a dead letter by name."""

import json
from typing import Any

import pytest

from feedback.schemas import schema
from ledger.events import Event, Reason, UnusableRecord
from tests.unit.feedback.event_builder import CORRECTION, IDENTITY, INTERVENTION, MESSAGES, read_record

TOOLS = [{"type": "function", "function": {"name": "stock", "parameters": {"type": "object"}}}]


def call(arguments: Any = '{"item": "bolts"}', name: str = "stock", **more: Any) -> dict[str, Any]:
    return {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def message(*calls: dict[str, Any], content: str | None = None, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


def correction(**changed: Any) -> dict[str, Any]:
    return (
        CORRECTION | {"rejected": message(call('{"item": "nuts"}')), "corrected": message(call())} | changed
    )


def refused(data: dict[str, Any], kind: str = "correction") -> str:
    content = read_record(data, kind).content
    assert isinstance(content, UnusableRecord)
    assert content.reason is Reason.INVALID_SCHEMA
    return content.detail


def test_messages_are_read_as_they_are() -> None:
    wanted = message(call({"item": "bolts"}), call("", name="price"), content="one moment", reasoning="look")
    event = read_record(correction(corrected=wanted, tools=[*TOOLS, tool("price")])).content
    assert isinstance(event, Event)
    assert event.data["corrected"] == wanted
    assert event.data["rejected"] == message(call('{"item": "nuts"}'))
    assert event.data["tools"] == [*TOOLS, tool("price")]


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def test_unknown_fields_are_dropped_and_the_older_name_of_reasoning_is_read() -> None:
    said = {"role": "assistant", "content": "no", "reasoning_content": "why", "refusal": None, "audio": {}}
    event = read_record(INTERVENTION | {"said": said}, "intervention").content
    assert event.data["said"] == {"role": "assistant", "content": "no", "reasoning": "why"}


def test_fields_that_are_null_are_as_if_they_were_not_there() -> None:
    unset = dict.fromkeys(("interaction", "turn", "key", "amends", "revision", "comment", "tools"))
    spoken = {"role": "assistant", "content": None, "reasoning": None, "reasoning_content": "look"}
    called = {"id": None, "type": None, "function": {"name": "stock", "arguments": None}}
    event = read_record(unset | CORRECTION | {"corrected": spoken | {"tool_calls": [called]}}).content
    assert isinstance(event, Event)
    assert event.revision == 1
    call_without_arguments = {"type": "function", "function": {"name": "stock", "arguments": ""}}
    assert event.data["corrected"] == message(call_without_arguments, reasoning="look")


def test_a_whole_number_may_be_written_with_a_fraction_of_zero() -> None:
    event = read_record(CORRECTION | {"turn": 3.0, "revision": 2.0}).content
    assert isinstance(event, Event)
    assert (event.turn, event.revision, type(event.turn)) == (3, 2, int)
    for number in (2.5, True, "2"):
        assert "revision" in refused(CORRECTION | {"revision": number})


def test_an_author_who_is_white_space_alone_is_refused() -> None:
    for author in (" ", "\u00a0 ", "\u2003"):
        assert "author" in refused(CORRECTION | {"author": author})


def test_an_event_of_an_older_producer_is_read_as_ever() -> None:
    history = [
        *MESSAGES,
        {"role": "tool", "content": "3"},
        {"role": "tool", "tool_call_id": "x", "content": ""},
    ]
    data = CORRECTION | {"messages": history}
    event = read_record(data).content
    assert isinstance(event, Event)
    assert event.data == {name: data[name] for name in ("messages", "rejected", "corrected")}
    assert event.digest == IDENTITY.fingerprint(json.dumps(data).encode())


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"corrected": ""}, "corrected: string_too_short (1)"),
        ({"corrected": 7}, "corrected: string_type"),
        ({"corrected": {"content": "x"}}, "corrected.role: missing"),
        ({"corrected": {"role": "user", "content": "x"}}, "corrected.role: literal_error ('assistant')"),
        ({"corrected": message()}, "corrected: needs content, tool_calls or reasoning"),
        ({"corrected": message(reasoning="hm")}, "data: corrected: needs content or tool_calls"),
        ({"corrected": message(call(7))}, "corrected.tool_calls.0.function.arguments.?: string_type"),
        ({"corrected": message(call(name=""))}, "corrected.tool_calls.0.function.name: string_too_short (1)"),
        ({"corrected": message(*[call()] * 129)}, "corrected.tool_calls: too_long (128)"),
        (
            {"corrected": message(call(type="custom"))},
            "corrected.tool_calls.0.type: literal_error ('function')",
        ),
        (
            {"corrected": message(call(), call('{"item": '))},
            "data: corrected.tool_calls.1.function.arguments: no JSON object",
        ),
        (
            {"corrected": message(call("[1]"))},
            "data: corrected.tool_calls.0.function.arguments: no JSON object",
        ),
        (
            {"corrected": message(call(name="order")), "tools": TOOLS},
            "data: corrected.tool_calls.0.function.name: none of the event's tools",
        ),
        (
            {"messages": [*MESSAGES, {"role": "tool", "tool_call_id": "c9", "content": "3"}]},
            "data: messages.2: a tool's result without its call",
        ),
        ({"tools": TOOLS * 129}, "tools: too_long (128)"),
        *(
            (
                {"corrected": message(call(arguments))},
                "data: corrected.tool_calls.0.function.arguments: no JSON object",
            )
            for arguments in ('{"item": NaN}', '{"item": 1e400}', '{"a":' * 900 + "1" + "}" * 900)
        ),
        ({"corrected": message(call(name="  "))}, "data: corrected.tool_calls.0.function.name: blank"),
        (
            {"messages": [*MESSAGES, {"role": "tool", "tool_call_id": [], "content": "3"}]},
            "data: messages.2: a tool's result without its call",
        ),
        *(
            (
                {"messages": [*MESSAGES, {"role": "assistant", "content": "x", "tool_calls": calls}]},
                "data: messages.2.tool_calls: no list of calls",
            )
            for calls in (7, True, "stock", {"id": "c1"}, [7], [None])
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_meant_is_a_dead_letter_by_name(changed: dict[str, Any], detail: str) -> None:
    assert refused(correction(**changed)).startswith(detail)


def test_what_an_agent_said_may_be_broken() -> None:
    broken = message(call('{"item": '), call("[]", name="nobody offered this"))
    event = read_record(correction(rejected=broken, tools=TOOLS)).content
    assert isinstance(event, Event)
    assert event.data["rejected"] == broken


@pytest.mark.parametrize(
    "changed",
    [
        {"tools": [{"type": "function", "function": {"name": name}} for name in ([], {}, 7, None, "stock")]},
        {"messages": [*MESSAGES, message({"id": [], "function": {}}), {"role": "user", "content": "?"}]},
        {"corrected": message(call(), call())},
        {"corrected": message(call(id=None), call(id=None))},
        {"corrected": message(call('{"größe": "ü"}')), "rejected": message(call(name="two words"))},
        {"rejected": message(call(name=" "), call('{"item": NaN}'))},
    ],
)
def test_what_is_odd_beside_a_wanted_call_is_taken_as_it_is(changed: dict[str, Any]) -> None:
    assert isinstance(read_record(correction(**changed)).content, Event)


@pytest.mark.parametrize("calls", [7, True, "stock", [7], [{"id": []}], [{"function": {"name": []}}]])
def test_calls_of_no_form_in_a_takeover_without_tools_are_read_as_ever(calls: Any) -> None:
    turn = {"role": "assistant", "content": "x", "tool_calls": calls}
    data = {"agent": "billing", "author": "ann", "action": "takeover", "messages": MESSAGES, "turns": [turn]}
    assert isinstance(read_record(data, "intervention").content, Event)


def test_forty_tools_are_taken() -> None:
    tools = [*TOOLS, *(tool(f"tool-{number}") for number in range(39))]
    assert isinstance(read_record(correction(tools=tools)).content, Event)


def test_the_results_of_earlier_calls_belong_to_them() -> None:
    history = [*MESSAGES, message(call()), {"role": "tool", "tool_call_id": "c1", "content": "3"}]
    assert isinstance(read_record(correction(messages=history)).content, Event)


def test_a_secret_in_a_call_is_redacted() -> None:
    wanted = message(call('{"to": "jane@example.com"}'))
    event = read_record(correction(corrected=wanted)).content
    assert event.data["corrected"]["tool_calls"][0]["function"]["arguments"] == '{"to": "[email]"}'


def test_the_schema_shows_producers_both_forms() -> None:
    published = schema("correction")
    forms = [next(iter(form.items())) for form in published["properties"]["corrected"]["oneOf"]]
    assert ("$ref", "#/$defs/AssistantMessage") in forms
    assert set(published["$defs"]) >= {"AssistantMessage", "ToolCall", "CalledFunction"}
    assert "tools" in published["properties"]
