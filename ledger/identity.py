"""The ledger's id and the key of its fingerprints, made once and kept in the ledger."""

import hmac
import secrets
import uuid
from dataclasses import dataclass

from sqlalchemy import Connection

from ledger.database import Database
from ledger.facts import fact, set_fact


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """`ledger_id` marks intake's commits to Kafka; `secret` is the key of fingerprints, so none can be
    guessed."""

    ledger_id: str
    secret: bytes

    def fingerprint(self, raw: bytes) -> str:
        """HMAC-SHA256 in hex."""
        return hmac.digest(self.secret, raw, "sha256").hex()

    def derived_key(self, label: str) -> bytes:
        """A key of 64 bytes for another purpose than fingerprints; it tells nothing about `secret`.

        SHA-512, so that no key equals a fingerprint: those are of texts that strangers choose.
        """
        return hmac.digest(self.secret, f"clorad key: {label}".encode(), "sha512")


def known_identity(database: Database) -> Identity | None:
    """The ledger's identity, for readers that must not write; None if it has none yet."""
    with database.read() as connection:
        return _identity(connection)


def ensure_identity(database: Database) -> Identity:
    """The ledger's identity. If it has none yet, this makes one, and only then takes the write lock."""
    known = known_identity(database)
    if known is None:
        with database.write() as connection:
            known = ensure_identity_in(connection)
    return known


def ensure_identity_in(connection: Connection) -> Identity:
    """The same, inside a transaction that may write."""
    for name, value in ((_LEDGER_ID, str(uuid.uuid4())), (_KEY, secrets.token_hex(32))):
        if fact(connection, name) is None:
            set_fact(connection, name, value)
    known = _identity(connection)
    assert known is not None
    return known


_LEDGER_ID, _KEY = "ledger_id", "fingerprint_key"


def _identity(connection: Connection) -> Identity | None:
    ledger_id, key = fact(connection, _LEDGER_ID), fact(connection, _KEY)
    if ledger_id is None or key is None:
        return None
    return Identity(ledger_id=ledger_id, secret=bytes.fromhex(key))
