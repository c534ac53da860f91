"""Single values kept under a name: who the ledger is, how far routing has moved, how often it went back."""

from sqlalchemy import Connection, insert, select, update

from ledger.schema import facts

RESTORES = "restores"


def fact(connection: Connection, name: str) -> str | None:
    """The value; None where it was never set."""
    value: str | None = connection.scalar(select(facts.c.value).where(facts.c.name == name))
    return value


def set_fact(connection: Connection, name: str, value: str | int) -> None:
    """The value is this one from now on."""
    changed = connection.execute(update(facts).where(facts.c.name == name).values(value=str(value)))
    if changed.rowcount == 0:
        connection.execute(insert(facts).values(name=name, value=str(value)))


def restores(connection: Connection) -> int:
    """How often the ledger went back to a backup: what was read of it before may not be so any more."""
    return int(fact(connection, RESTORES) or 0)
