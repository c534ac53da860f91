"""Marks the words that differ between two texts, for people who compare two answers."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

WORDS_MAX = 2000
"""Words of a text that are compared; what is longer is shown without marks, because it would take seconds."""

_WORDS = re.compile(r"\w+\s*|[^\w\s]\s*|\s+")
"""A word or a sign with the space after it, so that a changed phrase is one passage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedPassage:
    """A part of a text. `differs`: the other text has something else here."""

    text: str
    differs: bool


def changed_words(before: str, after: str) -> tuple[tuple[MarkedPassage, ...], tuple[MarkedPassage, ...]]:
    """Both texts in passages, joined to the whole texts again."""
    olds, news = _WORDS.findall(before), _WORDS.findall(after)
    if len(olds) > WORDS_MAX or len(news) > WORDS_MAX:
        return (MarkedPassage(text=before, differs=False),), (MarkedPassage(text=after, differs=False),)
    old_passages: list[MarkedPassage] = []
    new_passages: list[MarkedPassage] = []
    for tag, old_from, old_to, new_from, new_to in SequenceMatcher(
        a=olds, b=news, autojunk=False
    ).get_opcodes():
        _add(old_passages, "".join(olds[old_from:old_to]), differs=tag != "equal")
        _add(new_passages, "".join(news[new_from:new_to]), differs=tag != "equal")
    return tuple(old_passages), tuple(new_passages)


def _add(passages: list[MarkedPassage], text: str, *, differs: bool) -> None:
    if text:
        passages.append(MarkedPassage(text=text, differs=differs))
