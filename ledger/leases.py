"""Leases: at most one holder of a name at a time, by the database's clock.

Each acquisition gets a larger token. What a holder writes is conditional on its token, so one that
slept through its lease cannot undo what its successor did.
"""

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, insert, select, update

from ledger.database import Database, now_s
from ledger.schema import leases

TTL_S_MAX = 10.0
"""Longer leases would make a killed holder's agents wait."""


def acquire(database: Database, names: Sequence[str], *, holder: str, ttl_s: float) -> dict[str, int]:
    """Take every lease of `names` that is free, expired or ours already. Returns their fencing tokens."""
    assert 0 < ttl_s <= TTL_S_MAX
    taken: dict[str, int] = {}
    with database.write() as connection:
        now = now_s(connection)
        rows = connection.execute(select(leases).where(leases.c.name.in_(names)))
        standing = {row.name: row for row in rows}
        for name in names:
            row = standing.get(name)
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
    """Prolong the leases that are still ours. Returns the names that are; the others are lost."""
    held: set[str] = set()
    with database.write() as connection:
        until_s = now_s(connection) + ttl_s
        for name, token in tokens.items():
            renewed = connection.execute(
                update(leases).where(leases.c.name == name, leases.c.token == token).values(until_s=until_s)
            )
            if renewed.rowcount == 1:
                held.add(name)
    return held


def release(database: Database, tokens: Mapping[str, int]) -> None:
    """Give the leases back at once. The rows stay: tokens must keep growing."""
    with database.write() as connection:
        for name, token in tokens.items():
            connection.execute(
                update(leases).where(leases.c.name == name, leases.c.token == token).values(until_s=0.0)
            )


def holds(connection: Connection, name: str, token: int) -> bool:
    """Whether the lease was not taken by somebody else since `token` was given.

    An expired lease that nobody took still holds: nobody else has acted, which is all a fence must ensure.
    """
    return connection.scalar(select(leases.c.token).where(leases.c.name == name)) == token


def held_names(connection: Connection) -> dict[str, str]:
    """Names leased right now and who holds them."""
    query = select(leases.c.name, leases.c.holder).where(leases.c.until_s > now_s(connection))
    return {row.name: row.holder for row in connection.execute(query)}
