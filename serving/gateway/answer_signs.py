"""Looks for signs of trouble in one answer: broken tool calls, answers cut short or empty, refusals.

Pure, and cheap enough for each chunk of a stream.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ledger.events import Signal

_OPENING_CHARS = 120
_REFUSAL = re.compile(
    r"\s*(?:i['’]m sorry|i am sorry|sorry|i apologi[sz]e|unfortunately)?[,.]?\s*(?:but\s+)?"
    r"(?:as an ai[^,.]*,\s*)?"
    r"i\s*(?:can['’]t|cannot|can not|won['’]t|will not|am unable to|['’]m unable to|am not able to)"
    r"\s+(?:help|assist|comply|do that|provide|fulfil|fulfill|answer|discuss|continue)",
    re.IGNORECASE,
)
"""How models open a refusal in English; other languages are recognised by the API's own field only."""


class AnswerSigns:
    """Collects what one answer shows, from a whole answer or from its chunks."""

    def __init__(self) -> None:
        self._opening = ""
        self._is_empty = True
        self._refused = False
        self._finish_reasons: set[str] = set()
        self._arguments: dict[tuple[int, int], str] = {}  # of tool calls, by choice and place
        self._names: dict[tuple[int, int], str] = {}

    def add(self, choices: Iterable[Mapping[str, Any]] | None) -> None:
        """Look at the choices of a whole answer, or of one chunk."""
        for choice in choices or ():
            self._add(choice)

    def signals(self, body: Mapping[str, Any]) -> list[Signal]:
        """What the whole answer to this request showed."""
        signals = []
        if any(map(self._is_broken, self._arguments)) or not self._offered(body).issuperset(
            self._names.values()
        ):
            signals.append(Signal.INVALID_TOOL_CALL)
        if "length" in self._finish_reasons or (self._is_empty and not self._arguments):
            signals.append(Signal.LENGTH)
        if self._refused or "content_filter" in self._finish_reasons or _REFUSAL.match(self._opening):
            signals.append(Signal.REFUSAL)
        return signals

    def _add(self, choice: Mapping[str, Any]) -> None:
        message = choice.get("message") or choice.get("delta") or {}
        text = message.get("content") or ""
        if text and isinstance(text, str):
            self._is_empty = False
            if len(self._opening) < _OPENING_CHARS:
                self._opening += text[:_OPENING_CHARS]
        if message.get("refusal"):
            self._refused = True
        calls = message.get("tool_calls")
        for place, call in enumerate(calls if isinstance(calls, list) else ()):
            self._add_call(choice.get("index") or 0, place, call)
        if reason := choice.get("finish_reason"):
            self._finish_reasons.add(str(reason))

    def _add_call(self, choice: int, place: int, call: Any) -> None:
        if not isinstance(call, dict):
            return
        index = call.get("index")
        key = (choice, index if isinstance(index, int) else place)
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        arguments = function.get("arguments") or ""
        if isinstance(arguments, Mapping):  # an object where the API has a text
            arguments = json.dumps(arguments)
        self._arguments[key] = self._arguments.get(key, "") + str(arguments)
        if function.get("name"):
            self._names[key] = str(function["name"])

    def _is_broken(self, key: tuple[int, int]) -> bool:
        """Whether the arguments are no JSON object. An answer that was cut is counted as cut."""
        if "length" in self._finish_reasons:
            return False
        try:
            return not isinstance(json.loads(self._arguments[key] or "{}"), dict)
        except (ValueError, RecursionError):
            return True

    def _offered(self, body: Mapping[str, Any]) -> set[str]:
        """Names of the tools in the request; those that were called where it is not known what it offered."""
        tools = body.get("tools")
        if not isinstance(tools, list):
            return set(self._names.values())
        # Chats have a function in each tool; in the other APIs a tool is one.
        functions = [tool.get("function") or tool for tool in tools if isinstance(tool, dict)]
        return {str(function.get("name")) for function in functions if isinstance(function, dict)}
