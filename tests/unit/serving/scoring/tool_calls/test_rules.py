"""What the tools of a request say about their calls."""

from typing import Any

import pytest

from serving.scoring.tool_calls.rules import NO_RULES, call_rules


def tool(name: str, beside: dict[str, Any] | None = None, **described: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **described}, **(beside or {})}


READS, ONCE = {"readOnlyHint": True}, {"idempotentHint": True}
FREE = {"clorad/anyOrder": True}


def test_tools_that_only_read_or_say_so_may_be_called_in_any_order() -> None:
    tools = [
        tool("look_up", annotations=READS),
        tool("read", {"annotations": READS}),
        tool("reserve", {"_meta": FREE}),
        tool("book", _meta=FREE),
        tool("refund", annotations={"readOnlyHint": False}),
        tool("cancel", annotations={"readOnlyHint": "yes"}),
        tool("close", annotations=ONCE),
    ]
    assert call_rules({"tools": tools}).any_order == {"look_up", "read", "reserve", "book"}


def test_idempotent_tools_may_be_called_once_more() -> None:
    rules = call_rules({"tools": [tool("close", annotations=ONCE), tool("open", {"annotations": READS})]})
    assert rules.repeatable == {"close"}


def test_the_schema_of_the_arguments_is_the_functions() -> None:
    schema = {"properties": {"unit": {"default": "km"}}}
    assert call_rules({"tools": [tool("go", parameters=schema)]}).parameters == {"go": schema}


@pytest.mark.parametrize("tools", [None, [], "search", [{"type": "function"}, "search", {"function": 7}]])
def test_tools_of_another_form_say_nothing(tools: Any) -> None:
    assert call_rules({"tools": tools}) == NO_RULES
    assert call_rules({}) == NO_RULES
