"""Keys of the gateway's clients: who holds each, what it allows, how long. The ledger has only hashes."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from ledger.access.key_text import KeyText, new_key_text
from ledger.access.rights import Grant, Right
from ledger.database import Database, now_s
from ledger.learning.agents import all_agents
from ledger.schema import access_keys
from ledger.versions.desired import raise_generation

KEY_NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}"
"""A key's name is the author of the feedback sent with it, and part of its source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """One key as the ledger knows it. Times are seconds since 1970 by the database's clock."""

    id: str
    digest: str  # of its text: SHA-256 in hex
    grant: Grant
    created_s: float
    created_by: str
    expires_s: float | None = None
    revoked_s: float | None = None
    replaces: str | None = None  # id of the key that was rotated

    def is_live(self, at_s: float) -> bool:
        """Whether it opens anything at that time."""
        return self.revoked_s is None and (self.expires_s is None or at_s < self.expires_s)


class KeyRefused(Exception):
    """A key cannot be made, revoked or rotated like this; nothing changed. The text is one line."""


def create_key(
    database: Database,
    grant: Grant,
    *,
    by: str,
    lifetime_s: float | None = None,
    another: bool = False,
) -> tuple[AccessKey, KeyText]:
    """Store a new key. Its text is returned here and can never be read again.

    `another`: the name may have a live key already; both then speak for one author. Raises `KeyRefused`.
    """
    if not re.fullmatch(KEY_NAME_PATTERN, grant.name):
        raise KeyRefused(f"a key's name must match {KEY_NAME_PATTERN}")
    if not grant.rights:
        raise KeyRefused("a key without a right opens nothing")
    with database.write() as connection:
        now = now_s(connection)
        if not another and any(
            key.grant.name == grant.name and key.is_live(now) for key in all_keys(connection)
        ):
            raise KeyRefused(f"{grant.name} has a key: rotate it, or make another for the same author")
        if unknown := sorted((grant.agents or frozenset()) - set(all_agents(connection))):
            raise KeyRefused(f"no agent {unknown[0][:60]}")
        return _insert(connection, grant, by=by, created_s=now, lifetime_s=lifetime_s)


def rotate_key(database: Database, key_id: str, *, by: str, overlap_s: float) -> tuple[AccessKey, KeyText]:
    """Store a key with the same name, rights, limits and lifetime. The old one expires `overlap_s` from now.

    Raises `KeyRefused`: a key that was revoked has no successor.
    """
    with database.write() as connection:
        old = _the_key(connection, key_id)
        if old.revoked_s is not None:
            raise KeyRefused(f"key {key_id} was revoked; `clorad keys create` makes a new one")
        now = now_s(connection)
        ends_s = now + overlap_s if old.expires_s is None else min(now + overlap_s, old.expires_s)
        connection.execute(update(access_keys).where(access_keys.c.id == key_id).values(expires_s=ends_s))
        lifetime_s = None if old.expires_s is None else old.expires_s - old.created_s
        return _insert(connection, old.grant, by=by, created_s=now, lifetime_s=lifetime_s, replaces=old.id)


def revoke_keys(database: Database, *, key_id: str | None = None, name: str | None = None) -> list[AccessKey]:
    """Revoke one key, or every key of a name, for good. Returns those that were not revoked before.

    Gateways refuse them within a second of reading the ledger. Raises `KeyRefused` where there is none.
    """
    assert (key_id is None) != (name is None), "one key, or all of one name"
    with database.write() as connection:
        if key_id is not None:
            chosen = [_the_key(connection, key_id)]
        else:
            chosen = [key for key in all_keys(connection) if key.grant.name == name]
            if not chosen:
                raise KeyRefused(f"no key of the name {str(name)[:60]}")
        now = now_s(connection)
        revoked = [replace(key, revoked_s=now) for key in chosen if key.revoked_s is None]
        for key in revoked:
            connection.execute(update(access_keys).where(access_keys.c.id == key.id).values(revoked_s=now))
        raise_generation(connection)
        return revoked


def all_keys(connection: Connection) -> list[AccessKey]:
    """Every key that was ever made, the oldest first."""
    rows = connection.execute(select(access_keys).order_by(access_keys.c.created_s, access_keys.c.id))
    return [_key(row) for row in rows]


def keys_by_id(connection: Connection) -> Mapping[str, AccessKey]:
    """Every key by its id: what a gateway authenticates its clients by."""
    return {key.id: key for key in all_keys(connection)}


def _insert(
    connection: Connection,
    grant: Grant,
    *,
    by: str,
    created_s: float,
    lifetime_s: float | None,
    replaces: str | None = None,
) -> tuple[AccessKey, KeyText]:
    text = new_key_text()
    key = AccessKey(
        id=text.id,
        digest=text.digest,
        grant=grant,
        created_s=created_s,
        created_by=by,
        expires_s=None if lifetime_s is None else created_s + lifetime_s,
        replaces=replaces,
    )
    connection.execute(
        insert(access_keys).values(
            id=key.id,
            digest=key.digest,
            name=grant.name,
            agents=None if grant.agents is None else sorted(grant.agents),
            rights=_in_order(grant.rights),
            concurrency_max=grant.concurrency_max,
            requests_per_minute_max=grant.requests_per_minute_max,
            created_s=key.created_s,
            created_by=by,
            expires_s=key.expires_s,
            replaces=replaces,
        )
    )
    raise_generation(connection)
    return key, text


def _the_key(connection: Connection, key_id: str) -> AccessKey:
    row = connection.execute(select(access_keys).where(access_keys.c.id == key_id)).one_or_none()
    if row is None:
        raise KeyRefused(f"no key {key_id[:40]}")
    return _key(row)


def _key(row: Row[Any]) -> AccessKey:
    return AccessKey(
        id=row.id,
        digest=row.digest,
        grant=Grant(
            name=row.name,
            agents=None if row.agents is None else frozenset(row.agents),
            rights=frozenset(map(Right, row.rights)),
            concurrency_max=row.concurrency_max,
            requests_per_minute_max=row.requests_per_minute_max,
        ),
        created_s=row.created_s,
        created_by=row.created_by,
        expires_s=row.expires_s,
        revoked_s=row.revoked_s,
        replaces=row.replaces,
    )


def _in_order(rights: Iterable[Right]) -> list[str]:
    return [right.value for right in Right if right in set(rights)]
