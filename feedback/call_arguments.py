"""Reads the arguments of a tool call, which OpenAI's API has as a text: one JSON object (RFC 8259), or none.

Python's reader also takes NaN and numbers beyond a double's range, and fails at thousands of levels: such
texts are no arguments here, and stay the text they are.
"""

import json
import math
from typing import Any

DEPTH_MAX = 32
"""Levels of lists and objects in a record, and in the arguments of a call."""


def arguments_in(arguments: Any) -> dict[str, Any] | None:
    """The arguments as an object, `{}` where there are none; None where they are no JSON object."""
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}", parse_constant=_refuse, parse_float=_finite)
        except (ValueError, RecursionError):
            return None
    if arguments is None:
        return {}
    return arguments if isinstance(arguments, dict) and depth_of(arguments) <= DEPTH_MAX else None


def depth_of(value: Any) -> int:
    """Levels of lists and objects, counted without recursion: strangers choose the depth."""
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        level = [inner for item in level for inner in (item.values() if isinstance(item, dict) else item)]
    return depth


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(digits)
    return number
