"""Tool calls are the same if they call the same functions in order, with equal arguments."""

from typing import Any

import pytest

from rewards.replies import reply_text
from serving.scoring.scorers import score
from serving.scoring.tool_calls.comparison import are_same_calls, calls_in_one_form
from serving.scoring.tool_calls.rules import CallRules


def message(*calls: tuple[str, Any], content: str | None = None) -> dict[str, Any]:
    """An assistant message with these calls."""
    tool_calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for n, (name, arguments) in enumerate(calls)
    ]
    return {"role": "assistant", "content": content, "tool_calls": tool_calls}


REFUND = ("refund", '{"order": 7, "amount": 20}')
LOOK, READ = ("look_up", '{"order": 7}'), ("read", '{"page": 1}')


@pytest.mark.parametrize(
    ("answer", "wanted", "same"),
    [
        (message(REFUND), message(REFUND), True),
        (message(REFUND, content="I refund it."), message(REFUND, content="Done."), True),
        (message(("refund", {"amount": 20.0, "order": 7})), message(REFUND), True),
        (message(("refund", '{"order": 8, "amount": 20}')), message(REFUND), False),
        (message(("refund", '{"order": "7", "amount": 20}')), message(REFUND), False),
        (message(("f", '{"a": true}')), message(("f", '{"a": 1}')), False),
        (message(("f", '{"a": [true]}')), message(("f", '{"a": [1]}')), False),
        (message(("f", "")), message(("f", "{}")), True),
        (message(("f", '{"a": 1e2}')), message(("f", '{"a": 100}')), True),
        (message(("f", '{"a": [1.0, -0.0]}')), message(("f", '{"a": [1, 0]}')), True),
        (message(("f", '{"a": 12345678901234567890}')), message(("f", '{"a": 12345678901234567891}')), False),
        (message(("f", {"cafe\u0301": "e\u0301"})), message(("f", {"caf\u00e9": "\u00e9"})), True),
        (message(("f", {"a": "\u2460"})), message(("f", {"a": "1"})), False),
        (message(("f", {"a": "ß"})), message(("f", {"a": "ss"})), False),
        (message(("f", {"a": None})), message(("f", "{}")), False),
        (message(("f", '{"a": 1')), message(("f", '{"a": 1}')), False),
        (message(("cancel", REFUND[1])), message(REFUND), False),
        (message(REFUND, REFUND), message(REFUND), False),
        (message(LOOK, REFUND), message(REFUND, LOOK), False),
        ({"role": "assistant", "content": "I refund it."}, message(REFUND), False),
        ("I refund it.", message(REFUND), False),
        (message(REFUND), "I refund it.", False),
        ("I refund it.", "I refund it.", False),
    ],
)
def test_calls_are_the_same_in_order_and_by_their_arguments(answer: Any, wanted: Any, same: bool) -> None:
    assert are_same_calls(answer, wanted) is same
    if isinstance(wanted, dict) and reply_text(wanted).startswith("["):
        assert (score("auto", reply_text(answer), reply_text(wanted)) == 1.0) is same


def are_judged_the_same(
    answer: list[tuple[str, Any]], wanted: list[tuple[str, Any]], rules: CallRules, *, same: bool
) -> None:
    assert are_same_calls(message(*answer), message(*wanted), rules) is same
    texts = [calls_in_one_form(reply_text(message(*calls)), rules) for calls in (answer, wanted)]
    assert (score("auto", *texts) == 1.0) is same


@pytest.mark.parametrize(
    ("answer", "wanted", "same"),
    [
        ([LOOK, READ], [READ, LOOK], True),
        ([("read", {"a": 1.0}), ("read", {"a": 2})], [("read", {"a": 2}), ("read", {"a": 1})], True),
        ([LOOK, READ, REFUND], [READ, LOOK, REFUND], True),
        ([LOOK, REFUND, READ], [LOOK, READ, REFUND], False),
        ([LOOK, LOOK, READ], [LOOK, READ, READ], False),
    ],
)
def test_calls_that_only_read_come_in_any_order_between_those_that_do_not(
    answer: list[tuple[str, Any]], wanted: list[tuple[str, Any]], same: bool
) -> None:
    are_judged_the_same(answer, wanted, CallRules(any_order={"look_up", "read"}), same=same)


SET, TURN = ("set", '{"lamp": 1}'), ("set", '{"lamp": 2}')


@pytest.mark.parametrize(
    ("answer", "wanted", "same"),
    [
        ([SET, ("set", '{"lamp": 1.0}')], [SET], True),
        ([SET, TURN], [TURN, SET], False),
        ([SET, TURN, SET], [SET, TURN], False),
        ([REFUND, REFUND], [REFUND], False),
    ],
)
def test_a_repeated_call_of_an_idempotent_tool_counts_once_and_its_order_counts(
    answer: list[tuple[str, Any]], wanted: list[tuple[str, Any]], same: bool
) -> None:
    are_judged_the_same(answer, wanted, CallRules(repeatable={"set"}), same=same)


PARAMETERS = {
    "type": "object",
    "properties": {
        "unit": {"type": "string", "default": "km"},
        "near": {"type": "boolean", "default": False},
        "page": {"type": "object", "properties": {"size": {"type": "integer", "default": 10}}},
    },
}


@pytest.mark.parametrize(
    ("arguments", "wanted", "same"),
    [
        ({"to": "x", "unit": "km"}, {"to": "x"}, True),
        ({"to": "x"}, {"to": "x", "unit": "km", "near": False}, True),
        ({"to": "x", "page": {"size": 10.0}}, {"to": "x", "page": {}}, True),
        ({"to": "x", "unit": "mi"}, {"to": "x"}, False),
        ({"to": "x", "near": 0}, {"to": "x"}, False),
        ({"to": "x", "unit": None}, {"to": "x"}, False),
    ],
)
def test_an_argument_that_says_its_default_says_nothing(
    arguments: dict[str, Any], wanted: dict[str, Any], same: bool
) -> None:
    rules = CallRules(parameters={"go": PARAMETERS})
    are_judged_the_same([("go", arguments)], [("go", wanted)], rules, same=same)
    assert not are_same_calls(message(("go", {"unit": "km"})), message(("go", {})))


@pytest.mark.parametrize("text", ["[1, 2]", "[", "[{}]", "look it up", '[{"name": "read"}]', ""])
def test_what_is_no_call_stays_as_it_is(text: str) -> None:
    assert calls_in_one_form(text, CallRules(any_order={"read"})) == text
