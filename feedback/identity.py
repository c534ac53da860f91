"""Who this ledger is, and the key that fingerprints what it was sent. Made once, kept in the ledger."""

import hmac
import secrets
import uuid
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from ledger.database import Database
from ledger.schema import facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """`ledger_id` marks our offset commits; `secret` keys fingerprints against guessing."""

    ledger_id: str
    secret: bytes

    def fingerprint(self, raw: bytes) -> str:
        """HMAC-SHA256 in hex."""
        return hmac.digest(self.secret, raw, "sha256").hex()


def known_identity(database: Database) -> Identity | None:
    """The ledger's identity as it stands, for who must not write; None where it was not made up yet."""
    with database.read() as connection:
        found = dict(connection.execute(select(facts.c.name, facts.c.value)).tuples().all())
    if not {"ledger_id", "fingerprint_key"} <= set(found):
        return None
    return Identity(ledger_id=found["ledger_id"], secret=bytes.fromhex(found["fingerprint_key"]))


def identity_of(database: Database) -> Identity:
    """The ledger's identity, made up if it has none yet."""
    with database.write() as connection:
        ledger_id = _fact(connection, "ledger_id", str(uuid.uuid4()))
        secret = _fact(connection, "fingerprint_key", secrets.token_hex(32))
    return Identity(ledger_id=ledger_id, secret=bytes.fromhex(secret))


def _fact(connection: Connection, name: str, otherwise: str) -> str:
    known = connection.scalar(select(facts.c.value).where(facts.c.name == name))
    if known is None:
        connection.execute(insert(facts).values(name=name, value=otherwise))
    return otherwise if known is None else str(known)
