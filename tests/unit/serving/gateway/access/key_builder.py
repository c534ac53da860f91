"""Keys as a gateway knows them, without a ledger."""

from typing import Any

from ledger.access.key_text import KeyText, new_key_text
from ledger.access.keys import AccessKey
from ledger.access.rights import Grant


def build_key(*, changed: dict[str, Any] | None = None, **grant: Any) -> tuple[AccessKey, KeyText]:
    """A key of `ann` and its text; `changed` are fields of the key, the others of its grant."""
    text = new_key_text()
    made: dict[str, Any] = {
        "id": text.id,
        "digest": text.digest,
        "grant": Grant(**{"name": "ann", **grant}),
        "created_s": 1000.0,
        "created_by": "ops",
    }
    return AccessKey(**made | (changed or {})), text
