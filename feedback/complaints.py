"""Says what is wrong with the data of an event: the field and the kind of mistake, never the content."""

from typing import Any

from pydantic import ValidationError

from feedback.reply_form import BRANCHES
from feedback.wire import TYPES


def complaint(fault: ValidationError) -> str:
    """Field names and kinds of mistakes. Keys in free-form objects are the sender's and are not named."""
    mistakes = [
        f"{_path(error['loc'])}: {_mistake(error)}" for error in fault.errors(include_input=False)[:5]
    ]
    return "; ".join(mistakes)


def _path(location: tuple[int | str, ...]) -> str:
    steps = [step for step in location if step not in BRANCHES]
    known = [str(step) if isinstance(step, int) or step in _FIELDS else "?" for step in steps]
    return ".".join(known) or "data"


def _mistake(error: Any) -> str:
    # The texts of our checks quote nothing; pydantic's may quote keys or values. Bounds are our models'.
    context, kind = error.get("ctx", {}), str(error["type"])
    if kind == "value_error":
        return str(context["error"])
    bounds = [str(context[name]) for name in _BOUNDS if name in context]
    return f"{kind} ({', '.join(bounds)})" if bounds else kind


_BOUNDS = ("le", "ge", "lt", "gt", "min_length", "max_length", "expected")
_FIELDS = frozenset(
    {field for model in TYPES.values() for field in model.model_fields}
    | {"source", "id", "role", "content", "conversations", "signals"}
    | {"tool_calls", "type", "function", "name", "arguments", "reasoning"}
)
