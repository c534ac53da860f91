"""Leases: a name has at most one holder at a time, by the database's clock.

Each acquisition gets a larger token. Writes are conditional on the token, so a holder that stood still
beyond its lease cannot undo the work of its successor.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, insert, select, update

from ledger.database import Database, now_s
from ledger.schema import leases

TTL_S_MAX = 10.0
"""Seconds of a lease at most: agents of a killed learner wait until its lease ends."""


def acquire(database: Database, names: Sequence[str], *, holder: str, ttl_s: float) -> dict[str, int]:
    """Take every lease of `names` that is free, expired or already this holder's. Returns fencing tokens."""
    assert 0 < ttl_s <= TTL_S_MAX
    taken: dict[str, int] = {}
    with database.write() as connection:
        now = now_s(connection)
        rows = connection.execute(select(leases).where(leases.c.name.in_(names)))
        stored = {row.name: row for row in rows}
        for name in names:
            row = stored.get(name)
            if row is None:
                connection.execute(
                    insert(leases).values(name=name, holder=holder, token=1, until_s=now + ttl_s)
                )
                taken[name] = 1
            elif row.until_s <= now or row.holder == holder:
                connection.execute(
                    update(leases)
                    .where(leases.c.name == name)
                    .values(holder=holder, token=row.token + 1, until_s=now + ttl_s)
                )
                taken[name] = row.token + 1
    return taken


def renew(database: Database, tokens: Mapping[str, int], *, ttl_s: float) -> set[str]:
    """Prolong the leases that still have these tokens. Returns their names; the other leases are lost."""
    renewed_names: set[str] = set()
    with database.write() as connection:
        until_s = now_s(connection) + ttl_s
        for name, token in tokens.items():
            renewed = connection.execute(
                update(leases).where(leases.c.name == name, leases.c.token == token).values(until_s=until_s)
            )
            if renewed.rowcount == 1:
                renewed_names.add(name)
    return renewed_names


def release(database: Database, tokens: Mapping[str, int]) -> None:
    """End the leases now. The rows stay, so that tokens go on growing."""
    with database.write() as connection:
        for name, token in tokens.items():
            connection.execute(
                update(leases).where(leases.c.name == name, leases.c.token == token).values(until_s=0.0)
            )


def holds(connection: Connection, name: str, token: int) -> bool:
    """Whether nobody else has taken the lease since `token` was issued.

    This is also true of an expired lease that nobody took: a fence must ensure only that nobody else acted.
    """
    return connection.scalar(select(leases.c.token).where(leases.c.name == name)) == token


def held_names(connection: Connection) -> dict[str, str]:
    """The holder of every lease that has not expired, by name."""
    query = select(leases.c.name, leases.c.holder).where(leases.c.until_s > now_s(connection))
    return {row.name: row.holder for row in connection.execute(query)}
