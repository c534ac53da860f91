"""What the tools of a request say about their calls: which are the same in another order or another form.

The sources are the tool annotations of the Model Context Protocol (2025-06-18, "Tool" and `_meta`) and the
defaults of JSON Schema (2020-12, validation, section 9.2). They stand beside the function's name or beside
the tool's type.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.scoring.forms import distinct

ANY_ORDER = "clorad/anyOrder"
"""In a tool's `_meta`: its calls change something, and it does not matter which comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRules:
    """The functions of one request by what their tools say."""

    any_order: Collection[str] = frozenset()  # their calls may come in any order among each other
    repeatable: Collection[str] = frozenset()  # the same call once more, right after it, changes nothing
    parameters: Mapping[str, Any] = field(default_factory=dict)  # by function: the schema of its arguments


NO_RULES = CallRules()
"""Calls of which nothing is known but what they say."""


def call_rules(request: Mapping[str, Any]) -> CallRules:
    """The rules that the tools of a request give; tools of another form give none.

    Calls of a tool with `readOnlyHint` or `_meta` {"clorad/anyOrder": true} may come in any order. That a
    tool is idempotent (`idempotentHint`) says less: two calls with other arguments may undo each other.
    """
    tools = request.get("tools")
    any_order, repeatable = set[str](), set[str]()
    parameters: dict[str, Any] = {}
    for tool in tools if isinstance(tools, list | tuple) else ():
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping):
            continue
        name = str(function.get("name"))
        if _says("annotations", "readOnlyHint", tool, function) or _says("_meta", ANY_ORDER, tool, function):
            any_order.add(name)
        if _says("annotations", "idempotentHint", tool, function):
            repeatable.add(name)
        parameters[name] = function.get("parameters")
    return CallRules(any_order=any_order, repeatable=repeatable, parameters=parameters)


def without_defaults(arguments: Any, schema: Any) -> Any:
    """The arguments without those that say what the schema has as their default."""
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(arguments, dict) or not isinstance(properties, Mapping):
        return arguments
    shortened = {}
    for name, value in arguments.items():
        described = properties.get(name)
        kept = without_defaults(value, described)
        is_default = (
            isinstance(described, Mapping)
            and "default" in described
            and distinct(described["default"]) == distinct(kept)
        )
        if not is_default:
            shortened[name] = kept
    return shortened


def _says(place: str, name: str, *described: Mapping[str, Any]) -> bool:
    notes = [each.get(place) for each in described]
    return any(isinstance(note, Mapping) and note.get(name) is True for note in notes)
