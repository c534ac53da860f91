"""Finds the passages of a reply in which an agent writes code, and writes them anew: texts, fences, patches.

A reply is a text, or an assistant message with calls of edit tools. A passage is a run of lines that should
stand in a file of the agent's commit word for word (`verbatim`), or a patch. Pure functions.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feedback.bridges.git.line_edits import lines_of
from feedback.bridges.git.patch_text import is_patch
from feedback.call_arguments import arguments_in

Reply = str | Mapping[str, Any]
"""What an agent said: a text, or OpenAI's assistant message."""

NEW_TEXTS = frozenset(
    (
        *("content", "contents", "file_text", "insert_text", "replace", "replacement"),
        *("new_content", "new_source", "new_str", "new_string", "new_text"),
    )
)
"""Arguments of edit tools that hold what shall stand in the file: Anthropic's text editor (`file_text`,
`new_str`, `insert_text`), Claude Code (`content`, `new_string`, `new_source`), and others like them."""

PATCHES = frozenset(["diff", "input", "patch"])
"""Arguments that hold a patch: of `apply_patch` and its kin."""

PATHS = ("path", "file_path", "filePath", "filename", "file", "target_file", "relative_path", "notebook_path")

_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})[^`]*$")
_REPLACED, _REPLACING = re.compile(r"^={5,9}$"), re.compile(r"^>{5,9} REPLACE$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One run of lines in a reply that writes code."""

    lines: tuple[str, ...]
    is_patch: bool
    path: str = ""  # as the reply names it, where it does


Rewrite = Callable[[Passage], Sequence[str]]
"""Gives the lines that shall stand in place of a passage; the same ones where nothing changes."""


def rewrite(reply: Reply, change: Rewrite) -> Reply:
    """The reply with each passage changed. Where no passage changes, it is the same reply.

    Whatever `change` raises ends the rewriting.
    """
    if isinstance(reply, str):
        return _in_text(reply, change)
    message = dict(reply)
    content = message.get("content")
    if isinstance(content, str):
        message["content"] = _in_text(content, change)
    calls = message.get("tool_calls")
    if isinstance(calls, Sequence) and not isinstance(calls, str):
        message["tool_calls"] = [_in_call(call, change) for call in calls]
    return message


def _in_text(text: str, change: Rewrite) -> str:
    lines = lines_of(text)
    rewritten: list[str] = []
    place = 0
    for start, end, passage in _passages(lines):
        rewritten += [*lines[place:start], *change(passage)]
        place = end
    rewritten += lines[place:]
    return text if rewritten == lines else "\n".join(rewritten)


def _passages(lines: Sequence[str]) -> Iterator[tuple[int, int, Passage]]:
    """The passages of a text, in order, with their places; the whole text where it has no fence."""
    fences = list(_fenced(lines))
    for start, end in fences or [(0, len(lines))]:
        inner = list(_replacing(lines, start, end)) or [(start, end)]
        for first, last in inner:
            if first < last:
                passage = tuple(lines[first:last])
                yield first, last, Passage(lines=passage, is_patch=is_patch(passage))


def _fenced(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The insides of fenced code blocks (CommonMark 0.31, 4.5)."""
    start, mark = 0, ""
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if not mark and fence:
            start, mark = number + 1, fence[1]
        elif mark and fence and fence[1].startswith(mark) and line.strip() == fence[1]:
            yield start, number
            mark = ""


def _replacing(lines: Sequence[str], start: int, end: int) -> Iterator[tuple[int, int]]:
    """The second halves of SEARCH/REPLACE blocks, as Aider has them."""
    first = None
    for number in range(start, end):
        if _REPLACED.match(lines[number]):
            first = number + 1
        elif first is not None and _REPLACING.match(lines[number]):
            yield first, number
            first = None


def _in_call(call: Any, change: Rewrite) -> Any:
    function = call.get("function") if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        return call
    arguments = function.get("arguments")
    parsed = arguments_in(arguments) if isinstance(arguments, str | dict) else None
    if parsed is None:
        return call
    changed = _in_arguments(parsed, "", change)
    if changed == parsed:
        return call
    new = json.dumps(changed, ensure_ascii=False) if isinstance(arguments, str) else changed
    return {**call, "function": {**function, "arguments": new}}


def _in_arguments(value: Any, path: str, change: Rewrite) -> Any:
    if isinstance(value, list):
        return [_in_arguments(item, path, change) for item in value]
    if not isinstance(value, dict):
        return value
    path = next((value[name] for name in PATHS if isinstance(value.get(name), str)), path)
    return {name: _in_argument(name, item, path, change) for name, item in value.items()}


def _in_argument(name: str, value: Any, path: str, change: Rewrite) -> Any:
    if not isinstance(value, str):
        return _in_arguments(value, path, change)
    if name not in NEW_TEXTS | PATCHES:
        return value
    lines = lines_of(value)
    passage = Passage(lines=tuple(lines), is_patch=name in PATCHES and is_patch(lines), path=path)
    new = list(change(passage))
    return value if new == lines else "\n".join(new)
