"""Single values, each stored under a name: the ledger's id, the routing generation, the number of
restores."""

from sqlalchemy import Connection, insert, select, update

from ledger.schema import facts

RESTORES = "restores"

_NAME_CHARS_MAX = 40  # of the column


def partitions_of_topic(topic_id: str) -> str:
    """The name of the fact how many partitions a topic had when its first one was read."""
    return f"partitions {topic_id}"[:_NAME_CHARS_MAX]


def fact(connection: Connection, name: str) -> str | None:
    """The value under the name; None if it was never set."""
    value: str | None = connection.scalar(select(facts.c.value).where(facts.c.name == name))
    return value


def set_fact(connection: Connection, name: str, value: str | int) -> None:
    """Store the value under the name, in place of the old value."""
    changed = connection.execute(update(facts).where(facts.c.name == name).values(value=str(value)))
    if changed.rowcount == 0:
        connection.execute(insert(facts).values(name=name, value=str(value)))


def restores(connection: Connection) -> int:
    """How often a backup was restored. After a restore, values that were read before may be wrong."""
    return int(fact(connection, RESTORES) or 0)
