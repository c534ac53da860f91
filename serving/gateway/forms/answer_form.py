"""What the gateway needs to know about the requests and answers of one path; each path has a subclass.

Whatever a path's own form is, its requests and answers are also given in the form of OpenAI's chat API: signs
of trouble and captures are read from that.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from serving.gateway.edge.errors import RequestRefused, error_body, error_kind
from serving.gateway.edge.json_text import encode_now
from serving.gateway.openai_form import (
    RequestedExtras,
    UnreadableReply,
    harmful_parameter,
    read_json,
    without_extras,
)

BROKE_OFF = "the answer broke off"
"""What a client reads in the last event of a stream that a replica did not finish."""

_LINE_ENDS = {end.encode(): f"\\u{ord(end):04x}".encode() for end in "\x85\u2028\u2029"}
"""Line ends of Unicode as JSON's escapes. They end no line of an event stream, but clients that split lines
as Python's `str.splitlines` does (httpx's `iter_lines`) take them for that."""

Choices = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPart:
    """A whole answer, or one event of a stream, decoded and checked."""

    data: dict[str, Any]  # fields that the gateway does not look at may be JSON text (`msgspec.Raw`)
    chat: Mapping[str, Any] = field(default_factory=dict)
    """What the gateway looks at, as in an answer of OpenAI's chat API; `prompt_token_ids` as JSON text."""
    error_status: int | None = None  # where the event reports an error
    is_last: bool = False  # no event follows

    @property
    def choices(self) -> Choices:
        """The choices of the chat answer, or the parts of them in one event."""
        return self.chat.get("choices") or ()


class NoChat(Exception):
    """No chat gives the same prompt, so the interaction is not captured. `fate` is its word in the metric."""

    def __init__(self, fate: str) -> None:
        super().__init__(fate)
        self.fate = fate


class AnswerForm:
    """The form of one path. The defaults are those of OpenAI's API."""

    path: str
    is_chat = False
    is_conversation = True  # its answers are counted by version and conversation, and may be streams
    end = b""  # what a stream has after its last event
    are_events_named = False  # each by its type
    repeats_answer_in: str | None = None  # the field of an event that has the answer so far, its model too
    not_captured: str | None = None  # the fate of interactions that are no chat

    def check(self, body: Mapping[str, Any]) -> None:
        """Raises `RequestRefused` where the request would harm others, or its answer could not be read."""
        if (name := harmful_parameter(body, chat=self.is_chat)) is not None:
            text = f"{name}: not available here, it would harm other requests"
            raise RequestRefused(400, text, "field", param=name)

    def flaw(self, body: Mapping[str, Any]) -> str | None:
        """Why this interaction cannot be captured: its fate in the metric. None where it can be."""
        try:
            return self.not_captured if self.translated(body) is None else None
        except NoChat as reason:
            return reason.fate

    def as_chat(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The request as one to OpenAI's chat API that gives the same prompt; None where there is none."""
        try:
            return self.translated(body)
        except NoChat:
            return None

    def translated(self, body: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The same. Raises `NoChat` where there is none for another reason than the path."""

    def with_capture_extras(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The request, which also asks for what a capture needs."""
        return body

    def read_answer(self, raw: bytes) -> AnswerPart:
        """A whole answer of status 200. Raises `UnreadableReply`."""
        raise NotImplementedError

    def read_event(self, raw: bytes) -> AnswerPart | None:
        """The data of one server-sent event; None after the last one. Raises `UnreadableReply`."""
        raise NotImplementedError

    def show(self, data: dict[str, Any], agent: str, extras: RequestedExtras) -> None:
        """Put the agent's name for the model's; leave out what the client did not ask for."""
        for shown in (data, data.get(self.repeats_answer_in) if self.repeats_answer_in else None):
            if isinstance(shown, dict):
                without_extras(shown, extras)
                if "model" in shown:
                    shown["model"] = agent

    def encode_event(self, data: Mapping[str, Any]) -> bytes:
        """One server-sent event."""
        name = str(data.get("type", "message")).translate({10: None, 13: None})
        named = f"event: {name}\n" if self.are_events_named else ""
        return b"%sdata: %s\n\n" % (named.encode(), _on_one_line(encode_now(data)))

    def broken_event(self) -> dict[str, Any]:
        """The last event of a stream that broke off."""
        return error_body(BROKE_OFF, "api_error", code="broken_stream")

    def refusal(self, status: int, body: Any) -> dict[str, Any]:
        """A replica's error as clients of this path expect it."""
        if isinstance(body, dict) and isinstance(body.get("error"), dict):
            return body
        return error_body("the replica refused this request", error_kind(status))


def _on_one_line(text: bytes) -> bytes:
    """The JSON without line ends: beside values they are white space, those of Unicode are in strings."""
    if b"\n" in text or b"\r" in text:
        text = text.replace(b"\n", b" ").replace(b"\r", b" ")
    if not text.isascii():
        for end, escape in _LINE_ENDS.items():
            text = text.replace(end, escape)
    return text


def read_object(raw: bytes) -> dict[str, Any]:
    """A JSON object. Raises `UnreadableReply`."""
    data = read_json(raw)
    if not isinstance(data, dict):
        raise UnreadableReply("not an object")
    return data


def objects_in(data: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """The list of objects under this name; empty where it is absent or null. Raises `UnreadableReply`."""
    items = data.get(name)
    if items is None:
        return []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise UnreadableReply(f"{name}: not a list of objects")
    return items


def object_in(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object under this name; empty where it is absent or null. Raises `UnreadableReply`."""
    item = data.get(name)
    if item is None:
        return {}
    if not isinstance(item, dict):
        raise UnreadableReply(f"{name}: not an object")
    return item


def text_in(data: Mapping[str, Any], name: str) -> str:
    """The text under this name; empty where it is absent or null. Raises `UnreadableReply`."""
    text = data.get(name)
    if text is None:
        return ""
    if not isinstance(text, str):
        raise UnreadableReply(f"{name}: not a text")
    return text


def texts_of_parts(parts: Any, *, kinds: Sequence[str]) -> list[str] | None:
    """The texts of a message's parts of these types; None where there is another part, or an empty one."""
    if not isinstance(parts, list) or not parts:
        return None
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") in kinds]
    plain = [text for text in texts if isinstance(text, str) and text]
    return plain if len(plain) == len(parts) else None


def chat_content(texts: Sequence[str]) -> str | list[dict[str, str]]:
    """The content of a chat message with these texts."""
    return texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts]


def function_tool(tool: Mapping[str, Any], *, parameters: Any) -> dict[str, Any]:
    """A function, with its name, description and parameters, as a tool of a chat. Raises `NoChat`."""
    if not isinstance(tool.get("name"), str):
        raise NoChat("other_tools")
    fields = {
        **{name: tool.get(name) for name in ("name", "description", "strict")},
        "parameters": parameters,
    }
    return {
        "type": "function",
        "function": {name: value for name, value in fields.items() if value is not None},
    }


def function_tools(
    tools: Any, parameters_of: Callable[[Mapping[str, Any]], Any], *, fields: Set[str]
) -> list[dict[str, Any]]:
    """Tools that the client runs, as tools of a chat. `fields` are all that one may have. Raises `NoChat`."""
    if not isinstance(tools, list):
        raise NoChat("other_tools")
    translated = []
    for tool in tools:
        if not isinstance(tool, dict) or not tool.keys() <= fields:
            raise NoChat("other_tools")
        translated.append(function_tool(tool, parameters=parameters_of(tool)))
    return translated


def whole_choice(
    texts: Sequence[str],
    *,
    thoughts: Sequence[str],
    calls: Sequence[Mapping[str, Any]],
    finish_reason: str | None,
    refusals: Sequence[str] = (),
) -> dict[str, Any]:
    """The one choice of a whole chat answer, of these texts, thoughts, refusals and calls."""
    message = {
        "role": "assistant",
        "content": "".join(texts),
        "refusal": "".join(refusals) or None,
        "reasoning": "".join(thoughts) or None,
        "tool_calls": calls,
    }
    return {"index": 0, "message": message, "finish_reason": finish_reason}


def tool_call(
    index: int, *, call_id: str = "", name: str | None = None, arguments: str = ""
) -> dict[str, Any]:
    """A call of a function, or a part of one, in the form of OpenAI's chat API."""
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {"index": index, "id": call_id, "type": "function", "function": function}
