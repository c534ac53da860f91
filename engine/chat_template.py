"""Renders conversations by the base's chat template, as vLLM 0.32 does for the same request.

A request's messages are brought into the form that vLLM gives to templates (vllm/renderers/chat_utils.py and
hf.py). What an agent generates begins where the rendered prompt ends: a reply is rendered with the same tools
and arguments, from that border on. What cannot be rendered so is refused, never cut at a guess.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from jinja2 import TemplateError

from rewards.episode import Message, plain_prompt, text_of

REFUSED_TEMPLATE = (
    *(TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError),
    RecursionError,  # of values nested too deeply
)
"""What templates raise. Their texts may quote messages."""

NOT_ARGUMENTS = frozenset(
    {
        *("conversation", "messages", "tools", "documents", "chat_template", "tokenize", "padding"),
        *("truncation", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask"),
        *("tokenizer_kwargs", "add_generation_prompt", "continue_final_message", "strftime_now"),
        *("raise_exception",),
    }
)
"""Names that `chat_template_kwargs` may not have: they are the tokenizer's own, and one of them is code."""

_THOUGHT = re.compile(r"(?P<open>[<\[]\|?[A-Za-z_]+\|?[>\]])\s*(?P<close>[<\[][|/]?[A-Za-z_]+\|?[>\]])\s*\Z")
"""A thought without words at the end of a prompt: `<think></think>`, `[THINK][/THINK]`, …"""


class UnusableEpisode(ValueError):
    """An episode that the engine cannot train on; it is reported with its events, and the turn continues."""


class ChatTemplate:
    """The chat template of a tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def prompt(self, messages: Sequence[Message], request: Mapping[str, Any], *, asked_s: float) -> str:
        """The prompt up to the first character of the reply. Raises `UnusableEpisode`.

        `request` has the fields beside the messages that the prompt is made of. Where the template writes
        the date, it is that of `asked_s` (Unix time), in UTC. A text completion is read without a template.
        """
        plain = plain_prompt(messages, request)
        if plain is not None:
            return plain
        return self._render(messages, request, asked_s, opens_reply=True)

    def opening(self, messages: Sequence[Message], request: Mapping[str, Any], *, asked_s: float) -> str:
        """What the prompt has after its messages: the beginning of the reply. Raises `UnusableEpisode`."""
        prompt = self.prompt(messages, request, asked_s=asked_s)
        if plain_prompt(messages, request) is not None:
            return ""
        history = self._render(messages, request, asked_s, opens_reply=False)
        if not prompt.startswith(history):
            raise UnusableEpisode("the chat template renders the messages otherwise before a reply")
        return prompt[len(history) :]

    def continuation(
        self, messages: Sequence[Message], reply: Message, request: Mapping[str, Any], *, asked_s: float
    ) -> str:
        """What follows the prompt where the agent gives this reply: to the end of the turn and beyond.

        Raises `UnusableEpisode` where that cannot be said: the rendered conversation does not begin with the
        prompt, and what the prompt has more is neither white space nor a thought without words. So a prompt
        that opens a thought refuses a reply that the template renders without one. A text completion goes on
        with the text of the reply.
        """
        if plain_prompt(messages, request) is not None:
            if reply.get("tool_calls") or reply.get("reasoning"):
                raise UnusableEpisode("a text completion cannot hold tool calls or reasoning")
            return text_of(reply)
        prompt = self.prompt(messages, request, asked_s=asked_s)
        whole = self._render([*messages, reply], request, asked_s, opens_reply=False)
        if whole.startswith(prompt):
            return whole[len(prompt) :]
        opening = self.opening(messages, request, asked_s=asked_s)
        for border in _borders(opening):
            shared = prompt[: len(prompt) - len(opening)] + border
            if whole.startswith(shared):
                return whole[len(shared) :].lstrip()
        raise UnusableEpisode("the chat template does not render this reply as a continuation of its prompt")

    def _render(
        self, messages: Sequence[Message], request: Mapping[str, Any], asked_s: float, *, opens_reply: bool
    ) -> str:
        arguments = _arguments(request)
        served = served_messages(messages, knows_developer=self._knows_developer())
        try:
            text: str = self._tokenizer.apply_chat_template(
                served,
                tools=_tools(request),
                tokenize=False,
                add_generation_prompt=opens_reply,
                strftime_now=datetime.fromtimestamp(asked_s, UTC).strftime,
                **arguments,
            )
        except REFUSED_TEMPLATE:
            raise UnusableEpisode("the chat template refuses these messages") from None
        return text

    def _knows_developer(self) -> bool:
        template = json.dumps(self._tokenizer.chat_template)
        return "'developer'" in template or '"developer' in template.replace("\\", "")


def served_messages(messages: Sequence[Message], *, knows_developer: bool) -> list[dict[str, Any]]:
    """The messages as vLLM gives them to the template. Raises `UnusableEpisode`.

    Content is a text, arguments of calls are objects, and where the template does not know developers, all
    instructions are one system message.
    """
    served = [_served(message) for message in messages]
    if knows_developer or not any(message["role"] == "developer" for message in served):
        return served
    instructions = [message for message in served if message["role"] in ("developer", "system")]
    others = [message for message in served if message["role"] not in ("developer", "system")]
    text = "\n\n".join(message["content"] for message in instructions if message["content"])
    return [{"role": "system", "content": text}, *others]


def _served(message: Message) -> dict[str, Any]:
    role = message.get("role")
    served: dict[str, Any] = {"role": role, "content": text_of(message)}
    if role == "assistant":
        if calls := message.get("tool_calls"):
            if not isinstance(calls, list):
                raise UnusableEpisode("tool calls that are no list")
            served["tool_calls"] = [_served_call(call) for call in calls]
        if (reasoning := message.get("reasoning")) is not None:
            served |= {"reasoning": reasoning, "reasoning_content": reasoning}
    if role == "tool" and "tool_call_id" in message:
        served["tool_call_id"] = message["tool_call_id"]
    if isinstance(message.get("name"), str):
        served["name"] = message["name"]
    return served


def _served_call(call: Any) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or call.get("type", "function") != "function":
        raise UnusableEpisode("a tool call that is no function's")
    return {**call, "function": {**function, "arguments": arguments_of(function) or {}}}


def arguments_of(function: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments of a called function as an object; None where they are not one, `{}` if not given."""
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    return arguments if isinstance(arguments, dict) else None


def _tools(request: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The tools with the fields that vLLM writes for each function, in its order; null where not given."""
    tools = []
    for tool in request.get("tools") or ():
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping):
            raise UnusableEpisode("a tool that is no function")
        fields = {name: function.get(name) for name in ("name", "description", "parameters")}
        if function.get("strict") is not None:
            fields["strict"] = function["strict"]
        tools.append({"type": "function", "function": fields})
    return tools or None


def _arguments(request: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the template, as vLLM makes them of the request. Raises `UnusableEpisode`."""
    given = request.get("chat_template_kwargs") or {}
    if not isinstance(given, Mapping):
        raise UnusableEpisode("chat_template_kwargs that are no object")
    given = dict(given)
    if not NOT_ARGUMENTS.isdisjoint(given):
        raise UnusableEpisode("chat_template_kwargs hold what is no argument of a template")
    effort = request.get("reasoning_effort")
    if effort is not None:
        given.setdefault("enable_thinking", effort != "none")
        given["reasoning_effort"] = effort
    if request.get("documents") is not None:
        given["documents"] = request["documents"]
    return given


def _borders(opening: str) -> list[str]:
    """Beginnings of what opens a reply, without what need not be continued: see `continuation`."""
    borders = []
    thought = _THOUGHT.search(opening)
    if thought is not None and _is_pair(thought["open"], thought["close"]):
        borders.append(opening[: thought.start()])
    return [*borders, opening.rstrip()]


def _is_pair(opening: str, closing: str) -> bool:
    return (
        closing in (opening[:1] + "/" + opening[1:], opening.replace("START", "END")) and closing != opening
    )
