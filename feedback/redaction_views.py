"""Undoes what hides a secret from a pattern: escapes, invisible characters, wide letters, and base64.

A view is a plain spelling of a text that knows where each of its characters stands in the text.
"""

import base64
import binascii
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

HINT = (
    # Escapes of JSON, URLs, C and HTML; UTF-16; zero-width and no-break characters; full-width letters.
    r"\\u|\\x[2-7]|%[2-7][0-9A-Fa-f]|&#|\x00|\xc2[\xa0\xad]|\xcd\x8f|\xe1\xa0\x8e|\xe2\x80[\x80-\x8f\xaa-\xaf]"
    r"|\xe2\x81[\x9f-\xaf]|\xe3\x80\x80|\xef\xbb\xbf|\xef[\xbc\xbd]"
)
"""RE2: raw bytes may hold something that a view spells otherwise."""

BASE64_HINT = r"(?:[A-Za-f][A-Za-z0-9+/_-]{3}){5}"
"""RE2: raw bytes may hold base64 of ASCII, whose every fourth character is one of the first 32."""

_INVISIBLE = "\\x00\\xad\\u034f\\u061c\\u180e\\u200b-\\u200f\\u202a-\\u202e\\u2060-\\u206f\\ufeff"
_SPACES = "\\xa0\\u2000-\\u200a\\u202f\\u205f\\u3000"
_DISGUISE = re.compile(
    rf"[{_INVISIBLE}]+|[{_SPACES}]|[\uff01-\uff5e]|%[2-7][0-9A-Fa-f]|\\+u[0-9A-Fa-f]{{4}}|\\+x[2-7][0-9A-Fa-f]"
    r"|&#(?:x[0-9A-Fa-f]{2,4}|[0-9]{2,5});"
)
_IS_INVISIBLE = re.compile(f"[{_INVISIBLE}]+")
_IS_SPACE = re.compile(f"[{_SPACES}]")
_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/_=-])(?:[A-Za-z0-9+/]{60,80}(?:\r?\n[A-Za-z0-9+/]{4,80}){1,200}={0,2}|[A-Za-z0-9+/_-]{20,}={0,2})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainView:
    """A text, spelt plainly."""

    text: str
    starts: tuple[int, ...]  # of pieces, in this text
    origins: tuple[
        tuple[int, int, bool], ...
    ]  # of the same pieces: where in the original, and whether verbatim

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where in the original these characters stand."""
        return self._origin(start, is_end=False), self._origin(end - 1, is_end=True)

    def _origin(self, place: int, *, is_end: bool) -> int:
        piece = bisect_right(self.starts, place) - 1
        begin, end, is_verbatim = self.origins[piece]
        if is_verbatim:
            return begin + place - self.starts[piece] + is_end
        return end if is_end else begin


def view_of(text: str) -> PlainView | None:
    """The plain spelling of the text; None where that is the text itself."""
    pieces: list[str] = []
    starts: list[int] = []
    origins: list[tuple[int, int, bool]] = []
    read_to = length = 0

    def add(piece: str, begin: int, end: int, *, is_verbatim: bool) -> None:
        nonlocal length
        if piece:
            pieces.append(piece)
            starts.append(length)
            origins.append((begin, end, is_verbatim))
            length += len(piece)

    for match in _DISGUISE.finditer(text):
        add(text[read_to : match.start()], read_to, match.start(), is_verbatim=True)
        add(_plain(match[0]), match.start(), match.end(), is_verbatim=False)
        read_to = match.end()
    if not read_to:
        return None
    add(text[read_to:], read_to, len(text), is_verbatim=True)
    return PlainView(text="".join(pieces), starts=tuple(starts), origins=tuple(origins))


def decoded(text: str) -> Iterator[tuple[int, int, str]]:
    """Where the text holds base64 (RFC 4648) of other text, and that text."""
    for match in _BASE64.finditer(text):
        compact = re.sub(r"\s", "", match[0]).rstrip("=").replace("-", "+").replace("_", "/")
        if len(compact) % 4 == 1:
            continue
        try:
            plain = base64.b64decode(compact + "=" * (-len(compact) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        if plain.replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
            yield match.start(), match.end(), plain


def _plain(disguise: str) -> str:
    if disguise.startswith("%"):
        return chr(int(disguise[1:], 16))
    if disguise.startswith("\\"):
        return _plain_character(chr(int(disguise.lstrip("\\")[1:], 16)))
    if disguise.startswith("&#"):
        digits = disguise[2:-1]
        return _plain_character(chr(int(digits[1:], 16) if digits[0] == "x" else int(digits)))
    return _plain_character(disguise)


def _plain_character(character: str) -> str:
    if _IS_INVISIBLE.fullmatch(character):
        return ""
    if _IS_SPACE.fullmatch(character):
        return " "
    is_wide = len(character) == 1 and "\uff01" <= character <= "\uff5e"
    return chr(ord(character) - 0xFEE0) if is_wide else character
