"""The text of a key, `clorad_<id>_<secret>`: makes one, takes one apart, and hashes it for the ledger.

The first word lets scanners of repositories and logs find a key that leaked; the id names the key in the
ledger, in metrics and in events, and opens nothing.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

PREFIX = "clorad"
_ID_BYTES, _SECRET_BYTES = 6, 32
_KEY = re.compile(rf"{PREFIX}_([0-9a-f]{{{2 * _ID_BYTES}}})_([0-9a-f]{{{2 * _SECRET_BYTES}}})")
_ID = re.compile(rf"(?:{PREFIX}_)?([0-9a-f]{{{2 * _ID_BYTES}}})(?:_.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyText:
    """One key as its owner has it. Never logged and never stored."""

    id: str
    text: str

    def __repr__(self) -> str:
        return f"KeyText(id={self.id!r})"

    @property
    def digest(self) -> str:
        """SHA-256 in hex: what the ledger keeps.

        A slow hash protects passwords, because people choose them and they can be guessed. These are 256
        random bits: nobody can try them all, and a fast hash costs a request about a microsecond
        (NIST SP 800-63B, 5.1.2: a look-up secret of at least 112 bits needs no slow hash).
        """
        return hashlib.sha256(self.text.encode()).hexdigest()

    def has_digest(self, digest: str) -> bool:
        """Whether the ledger's digest is this key's. How long it takes says nothing about the digest."""
        return hmac.compare_digest(self.digest, digest)


def new_key_text() -> KeyText:
    """A key that nobody had before, from the system's random numbers."""
    key_id = secrets.token_hex(_ID_BYTES)
    return KeyText(id=key_id, text=f"{PREFIX}_{key_id}_{secrets.token_hex(_SECRET_BYTES)}")


def read_key_text(text: str) -> KeyText | None:
    """The key in a header; None where it has not the form of one of our keys."""
    match = _KEY.fullmatch(text)
    return None if match is None else KeyText(id=match[1], text=text)


def read_key_id(text: str) -> str | None:
    """The id in `id`, `clorad_id` or a whole key; None where it is neither."""
    match = _ID.fullmatch(text)
    return None if match is None else match[1]
