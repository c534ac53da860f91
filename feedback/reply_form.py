"""Defines and checks replies on the wire: a text, or an assistant message with tool calls and reasoning.

The form is that of OpenAI's chat messages; `reasoning` is vLLM's field. What a person wants can be said: its
arguments are JSON objects, and it calls tools that were offered. What an agent said is taken as it is.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_serializer,
    model_validator,
)

from feedback.call_arguments import arguments_in

CALLS_MAX = 128
"""Tool calls of one message: as many as a request may have tools."""

_NAME_CHARS_MAX = 200
_TEXT, _MESSAGE = "text", "message"
BRANCHES = (_TEXT, _MESSAGE)
"""Names of the two forms, as pydantic puts them into the place of an error."""

Name = Annotated[
    str, StringConstraints(min_length=1, max_length=_NAME_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]+$")
]


def without_nulls(fields: Any) -> Any:
    """The fields of an object that are given: programs that write every optional field write null."""
    if not isinstance(fields, dict):
        return fields
    return {name: value for name, value in fields.items() if value is not None}


class _Form(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, hide_input_in_errors=True)

    _null_is_unset = model_validator(mode="before")(without_nulls)


class CalledFunction(_Form):
    """The function that a call names."""

    name: Name
    arguments: str | dict[str, Any] = ""


class ToolCall(_Form):
    """One call of a tool."""

    id: Annotated[str, StringConstraints(max_length=_NAME_CHARS_MAX)] | None = None
    type: Literal["function"] = "function"
    function: CalledFunction


class AssistantMessage(_Form):
    """One assistant message: a text, tool calls, or both. Other fields are dropped."""

    role: Literal["assistant"]
    content: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=CALLS_MAX)] | None = None
    reasoning: Annotated[
        str | None, Field(validation_alias=AliasChoices("reasoning", "reasoning_content"))
    ] = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.content and not self.tool_calls and not self.reasoning:
            raise ValueError("needs content, tool_calls or reasoning")
        return self

    @model_serializer
    def _as_openai_has_it(self) -> dict[str, Any]:
        """Without fields that say nothing; `content` is there also where it is null."""
        message: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.reasoning:
            message["reasoning"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [call.model_dump(exclude_none=True) for call in self.tool_calls]
        return message


def _form_of(reply: Any) -> str:
    return _MESSAGE if isinstance(reply, dict | AssistantMessage) else _TEXT


Reply = Annotated[
    Annotated[str, StringConstraints(min_length=1), Tag(_TEXT)] | Annotated[AssistantMessage, Tag(_MESSAGE)],
    Discriminator(_form_of),
]
"""What an agent said or should have said."""


def check_wanted(reply: Any, tools: Sequence[Mapping[str, Any]] | None) -> None:
    """Raise `ValueError` where a wanted reply calls what cannot be called; the text quotes nothing."""
    if not isinstance(reply, AssistantMessage):
        return
    if not reply.content and not reply.tool_calls:
        raise ValueError("corrected: needs content or tool_calls")
    offered = None if tools is None else function_names(tools)
    for place, call in enumerate(reply.tool_calls or ()):
        flaw = call_flaw(call.function.name, call.function.arguments, offered)
        if flaw is not None:
            raise ValueError(f"corrected.tool_calls.{place}.function.{flaw.value}")


class CallFlaw(StrEnum):
    """Why nobody can want a call: the part of its function that is wrong, and what is wrong with it."""

    NAMELESS = "name: blank"
    NO_ARGUMENTS = "arguments: no JSON object"
    NOT_OFFERED = "name: none of the event's tools"


def call_flaw(name: str, arguments: Any, offered: Collection[str] | None) -> CallFlaw | None:
    """Why nobody can want this call of an agent; None where they can. `offered`: None where not known."""
    if not name.strip():
        return CallFlaw.NAMELESS
    if arguments_in(arguments) is None:
        return CallFlaw.NO_ARGUMENTS
    return CallFlaw.NOT_OFFERED if offered is not None and name not in offered else None


def check_results(messages: Iterable[Mapping[str, Any]] | None) -> None:
    """Raise `ValueError` where calls are no list of objects, or a result has no call before it."""
    called = set[str]()
    for place, message in enumerate(messages or ()):
        calls = message.get("tool_calls") or []
        if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
            raise ValueError(f"messages.{place}.tool_calls: no list of calls")
        called |= call_ids(message)
        if message.get("role") == "tool" and not is_result_of(message, called):
            raise ValueError(f"messages.{place}: a tool's result without its call")


def call_ids(message: Mapping[str, Any]) -> set[str]:
    """The ids of the calls in a message of any form."""
    calls = message.get("tool_calls")
    ids = [call.get("id") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    return {id for id in ids if isinstance(id, str)}


def is_result_of(message: Mapping[str, Any], called: Collection[str]) -> bool:
    """Whether a tool's message is the result of one of these calls."""
    id = message.get("tool_call_id")
    return isinstance(id, str) and id in called


def function_names(tools: Any) -> set[str]:
    """The names of the functions among tools of any form."""
    functions = [tool.get("function") for tool in tools or () if isinstance(tool, Mapping)]
    names = [function.get("name") for function in functions if isinstance(function, Mapping)]
    return {name for name in names if isinstance(name, str)}
