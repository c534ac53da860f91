"""Redacts secrets and personal data in people's texts, before the texts reach a disk or Kafka.

Each pattern has a hint, a coarse form of it. All hints together are one RE2 automaton that reads the raw
bytes once, at about 3 ns a byte. The exact expressions, which are slow and have lookarounds, run on its hits
only. They start at a literal or a token boundary and have bounded repeats, so hostile text costs linear time.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import re2

RedactionCounts = Counter[str]
"""How often each kind was redacted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """One kind of text to redact. Where the expression has a group, only the group is redacted."""

    kind: str
    hint: str  # RE2; matches the raw JSON of all that the expression matches
    expression: re.Pattern[str]
    holds: Callable[[str], bool] = lambda _: True


def _pattern(
    kind: str, hint: str, expression: str, holds: Callable[[str], bool] = lambda _: True, flags: int = 0
) -> Pattern:
    return Pattern(kind=kind, hint=hint, expression=re.compile(expression, flags), holds=holds)


def _digits(text: str) -> list[int]:
    return [int(character) for character in text if character.isdecimal()]


def _is_card(text: str) -> bool:
    """Luhn's checksum (ISO/IEC 7812-1), and a first digit that card networks use."""
    digits = _digits(text)
    doubled = [
        digit if place % 2 == 0 else (digit * 2 - 9 * (digit > 4)) for place, digit in enumerate(digits[::-1])
    ]
    return sum(doubled) % 10 == 0 and digits[0] in (2, 3, 4, 5, 6) and len(set(digits)) > 1


def _is_phone(text: str) -> bool:
    return 8 <= len(_digits(text)) <= 15


def _looks_chosen(text: str) -> bool:
    """Whether it may be a password and not a word: passwords have a digit or a sign, names of variables
    none."""
    return len(text) >= 6 and re.search(r"[^A-Za-z_.]", text) is not None


_SECRET_NAME = (
    r"(?:pass(?:word|wd|phrase)|pwd|secret(?:[_-]?(?:access[_-]?)?key)?|api[_-]?key|account[_-]?key"
    r"|(?:access|auth|refresh|client|private)[_-]?(?:token|secret|key)|credentials?)"
)

# Hints have no negated classes, white space or quotes: raw JSON spells those with backslashes.
PATTERNS = (
    _pattern(
        "private_key",
        "PRIVATE KEY",
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r".*?(?:-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
        flags=re.DOTALL,
    ),
    _pattern("aws_key", "A(?:KI|SI|BI|CC)A[A-Z2-7]{16}", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    _pattern(
        "aws_secret",
        "(?i)aws.{0,30}(?:key|secret)",
        r"(?i)\baws.{0,30}?(?:key|secret)[^a-z0-9/+]{1,5}([a-z0-9/+]{40})(?![a-z0-9/+])",
    ),
    _pattern(
        "github_token",
        "gh[pousr]_[A-Za-z0-9]{36}|github_pat_",
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})",
    ),
    _pattern(
        "gitlab_token",
        "gl(?:pat|dt|rt|cbt|ptt|oas|soat)-",
        r"\bgl(?:pat|dt|rt|cbt|ptt|oas|soat)-[A-Za-z0-9_=.-]{20,300}",
    ),
    _pattern(
        "slack_token",
        "xox[abeoprs]-|xapp-[0-9]-|hooks[.]slack[.]com",
        r"\b(?:xox[abeoprs]-[A-Za-z0-9-]{10,300}|xapp-\d-[A-Za-z0-9-]{10,300}"
        r"|hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/+]{20,200})",
    ),
    _pattern("openai_key", "sk-[A-Za-z0-9_-]{20}", r"\bsk-[A-Za-z0-9_-]{20,300}"),
    _pattern(
        "stripe_key",
        "[sr]k_(?:live|test)_|whsec_",
        r"\b(?:[sr]k_(?:live|test)_|whsec_)[A-Za-z0-9]{10,300}",
    ),
    _pattern("google_key", "AIza|ya29[.]", r"\b(?:AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,300})"),
    _pattern(
        "registry_token",
        "npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50}|hf_[A-Za-z0-9]{30}|dckr_pat_",
        r"\b(?:npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{50,300}|hf_[A-Za-z0-9]{30,100}"
        r"|dckr_pat_[A-Za-z0-9_-]{20,100})",
    ),
    _pattern(
        "cloud_token",
        "do[op]_v1_|dapi[a-f0-9]{32}|shp(?:at|ss)_|SG[.][A-Za-z0-9_-]{16}|hvs[.]|lin_api_",
        r"\b(?:do[op]_v1_[a-f0-9]{64}|dapi[a-f0-9]{32}|shp(?:at|ss)_[a-fA-F0-9]{32}"
        r"|SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}|hvs\.[A-Za-z0-9_-]{20,300}"
        r"|lin_api_[A-Za-z0-9]{30,60})",
    ),
    _pattern("telegram_token", "[0-9]{8}:AA", r"\b\d{8,10}:AA[A-Za-z0-9_-]{33}(?![A-Za-z0-9_-])"),
    _pattern(
        "jwt",
        "eyJ[A-Za-z0-9_-]{8}",
        r"\beyJ[A-Za-z0-9_-]{8,4000}\.eyJ[A-Za-z0-9_-]{8,8000}\.[A-Za-z0-9_-]{0,2000}",
    ),
    _pattern(
        "authorization",
        "(?i)bearer|basic",
        r"(?i)\b(?:bearer|authorization[\"']?\s{0,5}[:=]\s{0,5}[\"']?basic)\s{1,5}([a-z0-9._~+/-]{16,8000}={0,2})",
        _looks_chosen,
    ),
    _pattern("url_password", r":\\?/\\?/", r"://[^\s/:@\[\]]{0,100}:([^\s/@\[\]]{1,200})@"),
    _pattern(
        "password",
        f"(?i){_SECRET_NAME}",
        rf"(?i)(?<![a-z]){_SECRET_NAME}[\"']?\s{{0,3}}(?::|=|=>|\bis\b)\s{{0,3}}[\"']?"
        r"([^\s\"',;()\[\]{}<>]{6,200})",
        _looks_chosen,
    ),
    _pattern(
        "email",
        r"[\w.%+'\x80-\xff-]@(?:[\w\x80-\xff-]|\\u)",  # a domain may begin with an escaped letter
        r"(?<![\w.%+'-])(?!git@)[\w.%+'-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])",
    ),
    _pattern("card", "[0-9](?:[ -]?[0-9]){12}", r"(?<![\w.-])(?:\d[ -]?){12,18}\d(?![\w-])", _is_card),
    _pattern(
        "phone",
        r"[+][0-9][0-9 ().-]{6}|[0-9]{3}(?:[)] ?|[-. ])[0-9]{3}[-.][0-9]{4}",
        r"(?<![\w+.-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}"
        r"|(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-.]\d{4})(?![\w-])",
        _is_phone,
    ),
)

KINDS = frozenset(pattern.kind for pattern in PATTERNS)

_PLACEHOLDER = re.compile(rf"\[(?:{'|'.join(sorted(KINDS))})\]")

NAMES = frozenset({"author", "interaction", "conversation", "key", "amends", "id", "source"})
"""Fields with an identifier, in an event's data and in a structured event itself."""

_CHARS_MIN = 6  # the shortest text that a pattern redacts is an address: a@b.de
_ESCAPED_ASCII = r"\\u00"  # JSON may spell any character so, which hides it from the hints
_NAMES_A_SECRET = re.compile(rf"(?i).*{_SECRET_NAME}")


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
        patterns = [pattern for pattern in PATTERNS if pattern.kind in kinds]
        self._patterns = [(pattern, _automaton(pattern.hint)) for pattern in patterns]
        hints = [_ESCAPED_ASCII, *(pattern.hint for pattern in patterns)] if patterns else ["a^"]
        self._any_hint = _automaton("|".join(f"(?:{hint})" for hint in hints))
        self._reads_passwords = "password" in kinds
        self._fingerprint = fingerprint

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
        for pattern, hint in self._patterns:
            if hint.search(raw) is not None:
                text = _redacted(text, pattern, counts)
        return text

    def value(self, value: Any, counts: RedactionCounts) -> Any:
        """A JSON value with every string in it redacted, keys too."""
        if isinstance(value, str):
            return self.text(value, counts)
        if isinstance(value, list):
            return [self.value(item, counts) for item in value]
        if isinstance(value, dict):
            return {self.text(name, counts): self._entry(name, item, counts) for name, item in value.items()}
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
            if key in NAMES and isinstance(item, str):
                kept[key] = self.name(item, counts)
            elif key == "target" and isinstance(item, dict):
                kept[key] = {part: self.name(str(inner), counts) for part, inner in item.items()}
            else:
                kept |= self.value({key: item}, counts)
        return kept

    def binary(self, raw: bytes, counts: RedactionCounts) -> bytes:
        """Bytes of no known form, redacted as if they were Latin-1."""
        if not self.suspects(raw):
            return raw
        return self.text(raw.decode("latin-1"), counts).encode("latin-1")

    def _entry(self, name: str, item: Any, counts: RedactionCounts) -> Any:
        """One entry of an object, redacted: in `{"password": "…"}` name and value are two strings."""
        if isinstance(item, str) and _NAMES_A_SECRET.fullmatch(name[-80:]) and _looks_chosen(item):
            if item.startswith("[") or not self._reads_passwords:
                return self.text(item, counts)
            counts["password"] += 1
            return "[password]"
        return self.value(item, counts)


def _automaton(hint: str) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # any bytes are valid Latin-1
    return re2.compile(hint.encode("latin-1"), options)


def _redacted(text: str, pattern: Pattern, counts: RedactionCounts) -> str:
    group = pattern.expression.groups  # 0: the whole match
    pieces, copied_to = [], 0
    for match in pattern.expression.finditer(text):
        if pattern.holds(match[group]):
            start, end = match.span(group)
            pieces += [text[copied_to:start], f"[{pattern.kind}]"]
            copied_to = end
            counts[pattern.kind] += 1
    return "".join([*pieces, text[copied_to:]]) if pieces else text
