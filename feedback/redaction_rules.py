"""Reads the rules of redaction from `redaction_rules.toml`: what is taken out of texts, and its source."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from feedback.redaction_checks import CHECKS, Candidate

_FILE = Path(__file__).with_name("redaction_rules.toml")
FIELD_NAMES_MAX = 2000
"""Names of fields for which each rule remembers whether they are its own."""

_PLACEHOLDER = re.compile(r"\[[a-z_]{3,20}\]?")
_QUOTE = r"\\{0,3}[\"'`]"
_VALUE = (
    rf"(?P<quote>{_QUOTE})(?P<quoted>(?:(?!(?P=quote))[^\r\n]){{1,300}})(?:(?P=quote)|\Z)"
    r"|(?P<bare>[^\s\"',;()\[\]{}<>`\\]{4,300}+)"
)
_SEPARATOR = (
    r"[ \t]{0,3}(?:=>|:=|={1,3}|\|\||[:：]{1,2}|\b(?:is|was|to|ist|lautet|es|est)\b)"
    r"(?:\s{0,3}(?=[\"'`])|[ \t]{0,3})"
)


@dataclass(frozen=True, kw_only=True)
class RedactionRule:
    """One form of text to take out."""

    kind: str
    hint: str  # RE2; matches the raw JSON of all that the rule matches
    source: str
    expression: str = ""
    names: str = ""  # of fields whose values are taken out; then there is no expression
    check: str = "anything"

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the text holds what is to be taken out."""
        for match in self._compiled.finditer(text):
            start, end = self._span(match)
            is_done = text.startswith("[", start) and _PLACEHOLDER.fullmatch(text, start, end)
            if not is_done and self._holds(self._candidate(match, text, start, end)):
                yield start, end

    def takes_field(self, name: str, value: str) -> bool:
        """Whether a JSON field of that name holds what is to be taken out."""
        if not self.names or not self._is_named(name[-80:]):
            return False
        return self._holds(Candidate(text=value, name=name, is_quoted=True))

    @cached_property
    def _compiled(self) -> re.Pattern[str]:
        """Compiled when it is needed first: most processes meet few of the forms."""
        if not self.names:
            return re.compile(self.expression)
        return re.compile(
            rf"(?:(?<![a-z])|(?=[A-Z]))(?P<name>{self.names})\d{{0,2}}(?:{_QUOTE})?(?P<sep>{_SEPARATOR})(?:{_VALUE})"
        )

    @cached_property
    def _is_named(self) -> Callable[[str], bool]:
        """Whether a field has one of the names. Most objects have the same fields again and again."""
        named = re.compile(rf"(?s:.*)(?:{self.names})\d{{0,2}}")
        return lru_cache(FIELD_NAMES_MAX)(lambda name: named.fullmatch(name) is not None)

    @cached_property
    def _holds(self) -> Callable[[Candidate], bool]:
        return CHECKS[self.check]

    def _span(self, match: re.Match[str]) -> tuple[int, int]:
        if self.names:
            return match.span("quoted" if match["quoted"] is not None else "bare")
        has_part = "out" in match.re.groupindex and match["out"] is not None
        return match.span("out") if has_part else match.span()

    def _candidate(self, match: re.Match[str], text: str, start: int, end: int) -> Candidate:
        if not self.names:
            return Candidate(text=text[start:end])
        return Candidate(
            text=text[start:end],
            name=match["name"],
            separator=match["sep"],
            before=text[match.start() - 1 : match.start()],
            after=text[end : end + 3],
            is_quoted=match["quoted"] is not None,
        )


def read_rules(table: Mapping[str, Any]) -> tuple[RedactionRule, ...]:
    """The rules of a parsed file, in its order. Raises `TypeError` or `KeyError` for an unknown name."""
    rules = tuple(RedactionRule(**rule) for rule in table["rule"])
    for rule in rules:
        assert bool(rule.expression) != bool(rule.names), "a rule has an expression or names"
        CHECKS[rule.check]
    return rules


RULES = read_rules(tomllib.loads(_FILE.read_text(encoding="utf-8")))
"""All rules, in the order in which they are applied."""
