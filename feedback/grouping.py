"""Makes names for the openings of conversations, so that the ledger gives similar conversations one role.

It compares text in lower case without extra white space, so near-duplicates of a gate prompt are never
trained on. The role itself depends on the ledger's key (`ledger.intake.prompt_roles`).
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from ledger.events import Openings

OPENINGS_MAX = 8
"""Messages of users and tools that openings distinguish at most."""

_TELLING = ("user", "tool", "function")
_NUMBERED = re.compile(r"\S*\d\S*")
_WORDS_CHARS_MAX = 4000  # of each message that is no user's or tool's: bounds the work


def normalise(text: str) -> str:
    """NFKC, lower case, white space collapsed; digits stay. A second call changes nothing."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())
    return " ".join(folded.split())


def group_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 (hex) of the first user message, normalised; of the first message if there is none of a
    user."""
    return openings_of(messages).prefixes[0]


def openings_of(messages: Sequence[Mapping[str, Any]]) -> Openings:
    """The openings of the conversation.

    Each of `prefixes` covers one more message of a user or a tool, at most `OPENINGS_MAX`. `whole` covers all
    other messages too (instructions, the agent's answers, tool calls), without words that have a digit:
    dates, times and numbers of sessions do not make another conversation.
    """
    first = next((message for message in messages if message.get("role") == "user"), messages[0])
    later = [message for message in messages if message.get("role") in _TELLING and message is not first]
    prefixes = [_sha256(normalise(_text(first)))]
    for message in later[: OPENINGS_MAX - 1]:
        prefixes.append(_sha256(f"{prefixes[-1]} {normalise(_text(message))}"))
    rest = [_words(message) for message in messages if message.get("role") not in _TELLING]
    is_more = any(rest) and len(messages) > 1
    return Openings(
        prefixes=tuple(prefixes), whole=_sha256(f"{prefixes[-1]} {json.dumps(rest)}") if is_more else None
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _words(message: Mapping[str, Any]) -> str:
    calls = message.get("tool_calls")
    text = _text(message) + (json.dumps(calls, sort_keys=True, default=str) if calls else "")
    return " ".join(_NUMBERED.sub(" ", normalise(text[-_WORDS_CHARS_MAX:])).split())


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
