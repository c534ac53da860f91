"""Scores an answer against the one that a person wanted, with a number in [0, 1], by the agent's scorer.

Settings, the command line and world files read the names in `SCORERS`; a new scorer is added here only.
Standard library only: the command line loads this module to refuse a misspelt name.
"""

import json
import re
from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from types import MappingProxyType
from typing import Any

Scorer = Callable[[str, str], float]
"""(answer, wanted) -> score; both without white space around them, and different from each other."""

JSON = "json"
SIMILARITY = "similarity"

_UNQUOTED = re.compile(
    r"(?<=[:,\s])\[[a-z_]+\](?=\s*[,}\]])"
)  # a number that redaction replaced, as `[card]`
_CHARS_MAX = 4000  # similarity takes quadratic time; beyond this the beginnings are compared


class UnknownScorer(ValueError):
    """There is no scorer of this name; the text names those there are. A person has to correct the agent."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name[:40]} is no scorer; there are {', '.join(SCORERS)}")


def score(scorer: str, answer: str, wanted: str, *, shown: str = "") -> float:
    """1.0: as wanted. White space around an answer never matters. Raises `UnknownScorer`.

    Where a JSON object or array is wanted, as of a tool call, answers are compared as JSON by every scorer.

    Wanted answers are stored redacted, so both are redacted before they are compared. An answer that itself
    says a placeholder such as `[email]` is worth nothing, unless the prompt (`shown`) holds it.
    """
    from feedback.redaction import RedactionCounts, placeholders, text_redactor  # not for who reads the names

    compare = scorer_named(scorer)
    if placeholders(answer) - placeholders(shown):
        return 0.0
    redactor, counts = text_redactor(), RedactionCounts()
    answer, wanted = (redactor.text(text, counts).strip() for text in (answer, wanted))
    if answer == wanted:
        return 1.0
    return _json(answer, wanted) if holds_json(wanted) else compare(answer, wanted)


def scorer_named(name: str) -> Scorer:
    """The function that compares two different answers. Raises `UnknownScorer`."""
    compare = SCORERS.get(name)
    if compare is None:
        raise UnknownScorer(name)
    return compare


def is_json(text: str) -> bool:
    """Whether the text is one JSON value (NaN and infinities are none)."""
    try:
        _read(text)
    except (ValueError, RecursionError):
        return False
    return True


def holds_json(text: str) -> bool:
    """Whether the text is one JSON object or array."""
    return text.lstrip().startswith(("{", "[")) and is_json(text)


def _read(text: str) -> Any:
    return _plain(json.loads(text, parse_constant=_refuse))


def _plain(value: Any) -> Any:
    """The value, in a form in which `true` differs from 1 as in JSON; in Python they are equal."""
    match value:
        case bool():
            return ("truth", value)
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {name: _plain(item) for name, item in value.items()}
    return value


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _exact(_answer: str, _wanted: str) -> float:
    return 0.0  # answers that are as wanted never get here


def _json(answer: str, wanted: str) -> float:
    """Equal as JSON; where the wanted text is no JSON, as exact."""
    answer, wanted = (_UNQUOTED.sub(r'"\g<0>"', text) for text in (answer, wanted))
    return float(is_json(wanted) and is_json(answer) and _read(answer) == _read(wanted))


def _similarity(answer: str, wanted: str) -> float:
    """By characters."""
    return SequenceMatcher(a=answer[:_CHARS_MAX], b=wanted[:_CHARS_MAX], autojunk=False).ratio()


SCORERS: Mapping[str, Scorer] = MappingProxyType({"exact": _exact, JSON: _json, SIMILARITY: _similarity})
"""Every scorer by the name that settings give it."""
