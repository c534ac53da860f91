"""Redacts secrets and personal data in people's texts, before the texts reach a disk or Kafka.

Each rule has a hint, a coarse form of it. All hints together are one RE2 automaton that reads the raw bytes
once, at about 3 ns a byte; the rules, which are slower, run on its hits only. They also run on what
escapes, invisible characters and base64 hide.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any

import msgspec
import re2

from feedback.redaction_rules import RULES
from feedback.redaction_views import BASE64_HINT, HINT, decoded, view_of

RedactionCounts = Counter[str]
"""How often each kind was redacted."""

KINDS = frozenset(rule.kind for rule in RULES)

_PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(sorted(KINDS))})\]")

NAMES = frozenset({"author", "interaction", "conversation", "key", "amends", "id", "source", "task"})
"""Fields with an identifier, in an event's data and in a structured event itself."""

TOOLS = "tools"
"""The field of a request, and of an interaction, with the tools that it offers."""

_TOOLS_MAX = 64  # lists of tools whose redacted form is kept in memory
_TOOLS_BYTES_MAX = 64 * 1024  # of one list, as JSON

_CHARS_MIN = 6  # the shortest text that a pattern redacts is an address: a@b.de


def placeholders(text: str) -> frozenset[str]:
    """The placeholders in a text, such as `[email]`: what redaction took out, or somebody wrote just so."""
    return frozenset(_PLACEHOLDER.findall(text)) if "[" in text else frozenset()


@cache
def text_redactor() -> "Redactor":
    """Redacts every kind in texts. It is not for identifiers: it has no key to fingerprint them with."""
    return Redactor(lambda _: "")


class Redactor:
    """Redacts the given kinds. A second redaction of the same text changes nothing.

    `fingerprint` replaces identifiers with personal data: keyed, and the same every time. Every method counts
    its redactions in `counts`. Raises `ValueError` for an unknown kind.
    """

    def __init__(self, fingerprint: Callable[[bytes], str], kinds: frozenset[str] = KINDS) -> None:
        unknown = kinds - KINDS
        if unknown:
            raise ValueError(f"unknown kinds {sorted(unknown)}; known: {sorted(KINDS)}")
        rules = [rule for rule in RULES if rule.kind in kinds]
        self._rules = [(rule, _automaton(rule.hint)) for rule in rules]
        self._field_rules = [rule for rule in rules if rule.names]
        self._disguise, self._base64 = (_automaton(hint) for hint in (HINT, BASE64_HINT))
        hints = [HINT, BASE64_HINT, *(rule.hint for rule in rules)] if rules else ["a^"]
        self._any_hint = _automaton("|".join(f"(?:{hint})" for hint in hints))
        self._fingerprint = fingerprint
        self._redacted_tools = lru_cache(_TOOLS_MAX)(self._redact_tools)

    def suspects(self, raw: bytes) -> bool:
        """Whether raw JSON may hold anything to redact; False is certain."""
        return self._any_hint.search(raw) is not None

    def text(self, text: str, counts: RedactionCounts) -> str:
        """The text with `[kind]` in place of each match."""
        if len(text) < _CHARS_MIN:
            return text
        raw = text.encode("utf-8", "surrogatepass")
        if self._any_hint.search(raw) is None:
            return text
        text = self._in_plain_text(text, raw, counts)
        if self._disguise.search(raw) is not None:
            text = self._in_view(text, counts)
        return text if self._base64.search(raw) is None else self._in_base64(text, counts)

    def value(self, value: Any, counts: RedactionCounts) -> Any:
        """A JSON value with every string in it redacted, keys too."""
        if isinstance(value, str):
            return self.text(value, counts)
        if isinstance(value, list):
            if len(value) == 2 and all(isinstance(item, str) for item in value):  # a name and its value
                return [self.text(value[0], counts), self._entry(value[0], value[1], counts)]
            return [self.value(item, counts) for item in value]
        if isinstance(value, dict):
            label = next(
                (value[name] for name in ("name", "key") if isinstance(value.get(name), str)), "value"
            )
            return {
                self.text(name, counts): self._entry(label if name == "value" else name, item, counts)
                for name, item in value.items()
            }
        return value

    def name(self, name: str, counts: RedactionCounts) -> str:
        """The identifier, or a fingerprint of it if it has something to redact."""
        if not self.suspects(name.encode("utf-8", "surrogatepass")) or self.text(name, Counter()) == name:
            return name
        counts["identifier"] += 1
        return f"redacted:{self._fingerprint(name.encode())[:24]}"

    def event_data(self, data: Mapping[str, Any], counts: RedactionCounts) -> dict[str, Any]:
        """An event's data, redacted; its identifiers still differ from each other."""
        kept: dict[str, Any] = {}
        for key, item in data.items():
            if not self.is_identifier(key, item):
                kept |= self.value({key: item}, counts)
            elif isinstance(item, str):
                kept[key] = self.name(item, counts)
            else:
                kept[key] = {part: self.name(str(inner), counts) for part, inner in item.items()}
        return kept

    @staticmethod
    def is_identifier(key: str, item: Any) -> bool:
        """Whether this entry of an event's data is an identifier, or the two of a `target`, and no text."""
        return (key in NAMES and isinstance(item, str)) or (key == "target" and isinstance(item, dict))

    def binary(self, raw: bytes, counts: RedactionCounts) -> bytes:
        """Bytes of no known form, redacted as if they were UTF-8, or else Latin-1."""
        if not self.suspects(raw):
            return raw
        try:
            return self.text(raw.decode(), counts).encode()
        except UnicodeDecodeError:
            return self.text(raw.decode("latin-1"), counts).encode("latin-1")

    def _entry(self, name: str, item: Any, counts: RedactionCounts) -> Any:
        """One entry of an object, redacted: in `{"password": "…"}` name and value are two strings.

        The value may be a number, or several; and the name may itself be a value, as in lists of variables:
        `{"name": "PASSWORD", "value": "…"}`.
        """
        if kind := self._field_kind(name, item):
            counts[kind] += 1
            return f"[{kind}]"
        if isinstance(item, list) and any(
            isinstance(each, str) and self._field_kind(name, each) for each in item
        ):
            return [self._entry(name, each, counts) for each in item]
        if name == TOOLS and isinstance(item, list):
            return self._tools(item, counts)
        return self.value(item, counts)

    def _field_kind(self, name: str, item: Any) -> str | None:
        """The kind of secret that a field of this name holds; None where it holds none."""
        if not isinstance(item, str) and type(item) is not int:
            return None
        return next((rule.kind for rule in self._field_rules if rule.takes_field(name, str(item))), None)

    def _tools(self, tools: list[Any], counts: RedactionCounts) -> list[Any]:
        """The tools of a request, redacted: once, since an agent is asked with the same ones every time."""
        try:
            text = msgspec.json.encode(tools)
        except (TypeError, ValueError, RecursionError, OverflowError):  # no JSON, or a number beyond 64 bits
            text = b""
        if not 0 < len(text) <= _TOOLS_BYTES_MAX:
            redacted: list[Any] = self.value(tools, counts)
            return redacted
        redacted, new_counts = self._redacted_tools(text)
        counts.update(dict(new_counts))
        return redacted

    def _redact_tools(self, text: bytes) -> tuple[list[Any], tuple[tuple[str, int], ...]]:
        """The redacted tools in a JSON text, and how often each kind was redacted."""
        counts: RedactionCounts = Counter()
        return self.value(msgspec.json.decode(text), counts), tuple(counts.items())

    def _in_plain_text(self, text: str, raw: bytes, counts: RedactionCounts) -> str:
        for rule, hint in self._rules:
            if hint.search(raw) is not None:
                text = _redacted(text, list(rule.spans(text)), rule.kind, counts)
        return text

    def _in_view(self, text: str, counts: RedactionCounts) -> str:
        """The text without what shows only once escapes and invisible characters are undone."""
        view = view_of(text)
        raw = b"" if view is None else view.text.encode("utf-8", "surrogatepass")
        for rule, hint in self._rules:
            if view is None:
                break
            if hint.search(raw) is None:
                continue
            spans = [view.span(start, end) for start, end in rule.spans(view.text)]
            if spans:
                text = _redacted(text, spans, rule.kind, counts)
                view = view_of(text)
        return text

    def _in_base64(self, text: str, counts: RedactionCounts) -> str:
        """The text without base64 that holds what a rule takes out: all of it goes."""
        hidden = [
            (start, end, kind) for start, end, plain in decoded(text) if (kind := self._first_kind(plain))
        ]
        for start, end, kind in reversed(hidden):
            text = _redacted(text, [(start, end)], kind, counts)
        return text

    def _first_kind(self, text: str) -> str | None:
        counts: RedactionCounts = Counter()
        self._in_plain_text(text, text.encode("utf-8", "surrogatepass"), counts)
        return next(iter(counts), None)


def _automaton(hint: str) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # any bytes are valid Latin-1
    return re2.compile(hint.encode(), options)


def _redacted(text: str, spans: Sequence[tuple[int, int]], kind: str, counts: RedactionCounts) -> str:
    pieces, copied_to = [], 0
    for start, end in spans:
        pieces += [text[copied_to:start], f"[{kind}]"]
        copied_to = end
        counts[kind] += 1
    return "".join([*pieces, text[copied_to:]]) if pieces else text
