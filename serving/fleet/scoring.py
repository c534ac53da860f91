"""How good an answer is against the one a person wanted: a number in [0, 1], by the agent's scorer."""

import json
from difflib import SequenceMatcher
from typing import Any

SCORERS = ("exact", "json", "similarity")

_CHARS_MAX = 4000  # similarity takes quadratic time; beyond this the beginnings are compared


def score(scorer: str, said: str, wanted: str) -> float:
    """1.0: as wanted. `exact` and `json` know nothing in between; `similarity` is by characters.

    White space around an answer never matters. Where the wanted text is no JSON, `json` is `exact`.
    """
    assert scorer in SCORERS, scorer
    said, wanted = said.strip(), wanted.strip()
    if said == wanted:
        return 1.0
    match scorer:
        case "json":
            return float(is_json(wanted) and is_json(said) and _read(said) == _read(wanted))
        case "similarity":
            return SequenceMatcher(a=said[:_CHARS_MAX], b=wanted[:_CHARS_MAX], autojunk=False).ratio()
        case _:
            return 0.0


def is_json(text: str) -> bool:
    """Whether the text is one JSON value (NaN and infinities are none)."""
    try:
        _read(text)
    except (ValueError, RecursionError):
        return False
    return True


def _read(text: str) -> Any:
    return _plain(json.loads(text, parse_constant=_refuse))


def _plain(value: Any) -> Any:
    """Python thinks that true equals 1; JSON does not. Numbers are equal by value."""
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
