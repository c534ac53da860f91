"""Scores an answer against the one that a person wanted, with a number in [0, 1], by the agent's scorer.

Settings, the command line and world files read the names in `SCORERS`; a built-in scorer is added here only.
Standard library only: the command line loads this module to refuse a misspelt name.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from types import MappingProxyType

from serving.scoring import nearness
from serving.scoring.forms import Block, Form, fenced_blocks, form_of, holds_json, is_json, read_json
from serving.scoring.python_code import is_same_python

Scorer = Callable[[str, str], float]
"""(answer, wanted) -> score; both without white space around them, and different from each other."""

AUTO = "auto"
JSON = "json"
SIMILARITY = "similarity"

_UNQUOTED = re.compile(
    r"(?<=[:,\s])\[[a-z_]+\](?=\s*[,}\]])"
)  # a number that redaction replaced, as `[card]`
_PYTHON = frozenset({"python", "py", "python3"})  # names of the language in fences
_CHARS_MAX = 4000  # similarity takes quadratic time; beyond this the beginnings are compared


class UnknownScorer(ValueError):
    """There is no scorer of this name; the text names those there are. A person has to correct the agent."""

    def __init__(self, name: str, names: Iterable[str] = ()) -> None:
        super().__init__(f"{name[:40]} is no scorer; there are {', '.join(names or SCORERS)}")


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


def comparison_of(scorer: str, wanted: str) -> str:
    """The name of the comparison by which this scorer judges answers where this one is wanted."""
    form = form_of(wanted)
    return form.value if form is Form.JSON or scorer in (AUTO, JSON) else scorer


def are_same_blocks(blocks: Sequence[Block], wanted: Sequence[Block]) -> bool:
    """Whether the same blocks are there in this order: Python by its tokens, JSON as JSON, others exactly."""
    return len(blocks) == len(wanted) and all(map(_is_same_block, blocks, wanted))


def _auto(answer: str, wanted: str) -> float:
    """The form of the wanted answer chooses the comparison."""
    match form_of(wanted):
        case Form.PYTHON:
            return float(is_same_python(answer, wanted))
        case Form.PROSE:
            return _nearness(answer, wanted)
        case Form.MIXED:
            return _mixed(answer, wanted)
        case _:
            return _json(answer, wanted)


def _mixed(answer: str, wanted: str) -> float:
    """0 if a fenced block differs. Else half, and the other half for the text around the blocks."""
    (blocks, text), (blocks_wanted, text_wanted) = fenced_blocks(answer), fenced_blocks(wanted)
    if not are_same_blocks(blocks, blocks_wanted):
        return 0.0
    text, text_wanted = text.strip(), text_wanted.strip()
    return 1.0 if text == text_wanted else 0.5 + 0.5 * _nearness(text, text_wanted)


def _is_same_block(block: Block, wanted: Block) -> bool:
    if block.language != wanted.language:
        return False
    if block.text.rstrip() == wanted.text.rstrip():
        return True
    if wanted.language in _PYTHON:
        return is_same_python(block.text, wanted.text)
    return bool(wanted.language == JSON and _json(block.text, wanted.text))


def _exact(_answer: str, _wanted: str) -> float:
    return 0.0  # answers that are as wanted never get here


def _json(answer: str, wanted: str) -> float:
    """Equal as JSON; where the wanted text is no JSON object or array, as exact."""
    answer, wanted = (_UNQUOTED.sub(r'"\g<0>"', text) for text in (answer, wanted))
    try:
        return float(holds_json(wanted) and is_json(answer) and read_json(answer) == read_json(wanted))
    except RecursionError:
        return 0.0


def _nearness(answer: str, wanted: str) -> float:
    return nearness.nearness(nearness.sequences_of(answer), nearness.sequences_of(wanted))


def _similarity(answer: str, wanted: str) -> float:
    """By characters."""
    return SequenceMatcher(a=answer[:_CHARS_MAX], b=wanted[:_CHARS_MAX], autojunk=False).ratio()


SCORERS: Mapping[str, Scorer] = MappingProxyType(
    {AUTO: _auto, "exact": _exact, JSON: _auto, SIMILARITY: _similarity}
)
"""Every built-in scorer by the name that settings give it. `json` is an older name of `auto`."""
