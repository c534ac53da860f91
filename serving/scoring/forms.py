"""Says which form a wanted answer has: JSON, code, prose or a few words. The form chooses the comparison.

Standard library only: the command line loads it.
"""

import json
import re
import unicodedata
from enum import StrEnum
from typing import Any, NamedTuple

from serving.scoring.python_code import is_python

PROSE_WORDS_MIN = 8
"""A text of fewer words is compared exactly: there is little to reword in it."""

_CODE_SHARE_MAX = 0.03
"""Signs of code for each word, at most: `name(`, `x[0]`, `{`, `=`, `$`, an indented line and so on."""

_WORDS = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_CODE = re.compile(r"\w[(\[]|[\[\]{}=<>$|\\`_]|^[ \t]+\S", re.MULTILINE)
_FENCED = re.compile(
    r"^ {0,3}(`{3,}|~{3,})[ \t]*([^`\n]*)\n(.*?)^ {0,3}\1[ \t]*$\n?", re.DOTALL | re.MULTILINE
)


class Form(StrEnum):
    """What a wanted answer is made of."""

    JSON = "json"  # one object or array
    PYTHON = "python"
    MIXED = "mixed"  # text with fenced blocks of code
    PROSE = "prose"  # sentences
    EXACT = "exact"  # a few words, and code of which no tokenizer is at hand


class Block(NamedTuple):
    """A fenced block of Markdown (CommonMark 0.31, section 4.5)."""

    language: str  # in lower case; empty where the fence names none
    text: str


def form_of(wanted: str) -> Form:
    """The form of a wanted answer."""
    if holds_json(wanted):
        return Form.JSON
    if fenced_blocks(wanted)[0]:
        return Form.MIXED
    if is_prose(wanted):
        return Form.PROSE
    return Form.PYTHON if is_python(wanted) else Form.EXACT


def is_prose(text: str) -> bool:
    """Whether the text is made of sentences: no JSON, no code, and not just a few words."""
    words = len(_WORDS.findall(text))
    if words < PROSE_WORDS_MIN or holds_json(text):
        return False
    return len(_CODE.findall(text.strip())) <= _CODE_SHARE_MAX * words


def fenced_blocks(text: str) -> tuple[tuple[Block, ...], str]:
    """The fenced blocks of a text, and the text without them."""
    blocks = tuple(Block(_language(match[2]), match[3]) for match in _FENCED.finditer(text))
    return blocks, _FENCED.sub("\n", text) if blocks else text


def is_json(text: str) -> bool:
    """Whether the text is one JSON value (NaN and infinities are none)."""
    try:
        read_json(text)
    except (ValueError, RecursionError):
        return False
    return True


def holds_json(text: str) -> bool:
    """Whether the text is one JSON object or array."""
    return text.lstrip().startswith(("{", "[")) and is_json(text)


def read_json(text: str) -> Any:
    """The value, as `distinct` gives it. Raises `ValueError`, `RecursionError`."""
    return distinct(json.loads(text, parse_constant=_refuse))


def distinct(value: Any) -> Any:
    """The value, in a form in which `true` differs from 1 as in JSON, and 1.0 does not.

    Texts and names are compared in their composed form (Unicode Standard Annex 15, NFC): an é is an é.
    """
    match value:
        case str():
            return unicodedata.normalize("NFC", value)
        case bool():
            return ("truth", value)
        case list():
            return [distinct(item) for item in value]
        case dict():
            return {unicodedata.normalize("NFC", name): distinct(item) for name, item in value.items()}
    return value


def _language(info: str) -> str:
    return info.split()[0].lower() if info.split() else ""


def _refuse(name: str) -> Any:
    raise ValueError(name)
