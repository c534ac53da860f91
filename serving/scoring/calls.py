"""Compares tool calls: the same functions in order, with arguments that are equal as JSON. Pure functions.

What an assistant says beside its calls does not count, nor do their ids. Calls of functions that only read
may come in any order among each other; a call of another function keeps its place between them.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from itertools import groupby
from typing import Any

from rewards.replies import Reply, calls_of, message_of
from serving.scoring.forms import distinct

Call = tuple[str, Any]
"""The name of a function, and its arguments."""


def are_same_calls(answer: Reply, wanted: Reply, *, any_order: Collection[str] = ()) -> bool:
    """Whether a reply makes the calls of the wanted one. False where none is wanted, or none is made.

    `any_order` are functions whose calls may come in any order among each other.
    """
    calls, asked = (_in_one_order(calls_of(message_of(reply)), any_order) for reply in (answer, wanted))
    return bool(asked) and distinct([list(call) for call in calls]) == distinct(
        [list(call) for call in asked]
    )


def functions_in_any_order(request: Mapping[str, Any]) -> frozenset[str]:
    """The functions whose tools say that they only read: `"annotations": {"readOnlyHint": true}`.

    That is the tool annotation of the Model Context Protocol (2025-03-26), beside the function's name or
    beside the tool's type.
    """
    tools = request.get("tools")
    named = {}
    for tool in tools if isinstance(tools, list | tuple) else ():
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if isinstance(function, Mapping):
            named[str(function.get("name"))] = _only_reads(function) or _only_reads(tool)
    return frozenset(name for name, only_reads in named.items() if only_reads)


def calls_in_one_order(text: str, any_order: Collection[str]) -> str:
    """The text of calls (`rewards.replies.reply_text`), with those that may come in any order sorted.

    Texts that are equal afterwards as JSON make the same calls. Any other text stays as it is.
    """
    if not any_order or not text.startswith("["):
        return text
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not all(isinstance(value, dict) and value.keys() == {"name", "arguments"} for value in values):
        return text
    calls = _in_one_order([(value["name"], value["arguments"]) for value in values], any_order)
    return json.dumps([{"name": name, "arguments": arguments} for name, arguments in calls])


def _in_one_order(calls: Iterable[Call], any_order: Collection[str]) -> list[Call]:
    ordered: list[Call] = []
    for may_move, run in groupby(calls, key=lambda call: call[0] in any_order):
        neighbours = list(run)
        ordered += sorted(neighbours, key=_spelled) if may_move else neighbours
    return ordered


def _spelled(call: Call) -> str:
    return json.dumps(call, sort_keys=True)


def _only_reads(described: Mapping[str, Any]) -> bool:
    annotations = described.get("annotations")
    return isinstance(annotations, Mapping) and annotations.get("readOnlyHint") is True
