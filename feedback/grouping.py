"""Groups events whose conversation began with the same words, but for case and spacing.

A group's hash decides its role once and for all, so near-duplicates of a gate prompt are never trained on.
"""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from ledger.events import Role


def normalise(text: str) -> str:
    """NFKC, lower case, white space collapsed; digits stay. A second call changes nothing."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    return " ".join(folded.split())


def group_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 (hex) of the first user message, normalised; of the first message where no user spoke."""
    first = next((message for message in messages if message.get("role") == "user"), messages[0])
    return hashlib.sha256(normalise(_text(first)).encode("utf-8", "surrogatepass")).hexdigest()


def role_of(group: str) -> Role:
    """Gate for one group in four, dev for one in eight, train for the rest."""
    eighth = int(group[:8], 16) % 8
    if eighth < 2:
        return Role.GATE
    return Role.DEV if eighth == 2 else Role.TRAIN


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
