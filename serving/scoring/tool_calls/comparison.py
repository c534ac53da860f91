"""Compares tool calls: the same functions in order, with arguments that are equal as JSON. Pure functions.

What an assistant says beside its calls does not count, nor do their ids. What the tools say about them counts
(`serving.scoring.tool_calls.rules`): calls that may come in any order among each other, calls that may be
repeated, and arguments that say a default.
"""

import json
from collections.abc import Iterable
from itertools import groupby
from typing import Any

from rewards.replies import Reply, calls_of, message_of
from serving.scoring.forms import distinct
from serving.scoring.tool_calls.rules import NO_RULES, CallRules, without_defaults

Call = tuple[str, Any]
"""The name of a function, and its arguments."""


def are_same_calls(answer: Reply, wanted: Reply, rules: CallRules = NO_RULES) -> bool:
    """Whether a reply makes the calls of the wanted one. False where none is wanted, or none is made."""
    calls, asked = (_in_one_form(calls_of(message_of(reply)), rules) for reply in (answer, wanted))
    return bool(asked) and distinct([list(call) for call in calls]) == distinct(
        [list(call) for call in asked]
    )


def calls_in_one_form(text: str, rules: CallRules) -> str:
    """The text of calls (`rewards.replies.reply_text`), in the one form of all that do the same.

    Texts that are equal afterwards as JSON make the same calls. Any other text stays as it is.
    """
    if rules == NO_RULES or not text.startswith("["):
        return text
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not all(isinstance(value, dict) and value.keys() == {"name", "arguments"} for value in values):
        return text
    calls = _in_one_form([(value["name"], value["arguments"]) for value in values], rules)
    return json.dumps([{"name": name, "arguments": arguments} for name, arguments in calls])


def _in_one_form(calls: Iterable[Call], rules: CallRules) -> list[Call]:
    shortened = [
        (name, without_defaults(arguments, rules.parameters.get(str(name)))) for name, arguments in calls
    ]
    ordered: list[Call] = []
    for may_move, run in groupby(shortened, key=lambda call: call[0] in rules.any_order):
        neighbours = list(run)
        ordered += sorted(neighbours, key=_spelled) if may_move else neighbours
    return [
        call
        for before, call in zip([None, *ordered], ordered, strict=False)
        if before is None or call[0] not in rules.repeatable or _spelled(call) != _spelled(before)
    ]


def _spelled(call: Call) -> str:
    name, arguments = call
    return json.dumps([name, _in_one_number(arguments)], sort_keys=True)


def _in_one_number(value: Any) -> Any:
    """The value with 1 for 1.0, so that equal values are spelled alike."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_in_one_number(item) for item in value]
        case dict():
            return {name: _in_one_number(item) for name, item in value.items()}
    return value
