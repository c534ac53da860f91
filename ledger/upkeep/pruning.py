"""Finds versions whose directories nothing needs any more, and marks them as pruned in the ledger.

The rows stay, so that `clorad why` can answer. A version is marked before its directory is removed: one
that is not marked has its directory, whenever a process is killed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from ledger.database import now_s
from ledger.schema import passes, turns, versions
from ledger.turn_states import TurnState, in_state
from ledger.versions.decisions import undecided
from ledger.versions.desired import champion, wanted
from ledger.versions.lineage import BASE, Version, versions_of
from ledger.versions.routing import replica_states


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One agent's versions and everybody who holds on to one, all by number."""

    parents: Mapping[int, int]  # of every version
    champion: int
    wanted: frozenset[int] = frozenset()  # for any purpose
    undecided: frozenset[int] = frozenset()
    starts: frozenset[int] = frozenset()  # where turns of unfinished passes begin
    held: frozenset[int] = frozenset()  # what a replica was last seen with: it may read the files again


@dataclass(frozen=True, slots=True, kw_only=True)
class Writers:
    """Whose work in the adapter store may still become a version of the agent."""

    drafts: frozenset[tuple[int, int]]  # turn and fencing token of every open turn
    numbers: frozenset[int]  # of the versions these turns make


def needed(family: Family, *, keep: int) -> frozenset[int]:
    """The versions that must have their directories; of the champion's lineage, the newest `keep`."""
    assert keep >= 1, "the champion itself is the first of its lineage"
    lineage = [family.champion]
    while lineage[-1] != BASE:
        lineage.append(family.parents[lineage[-1]])
    parents = frozenset(family.parents[number] for number in family.undecided)
    held = family.wanted | family.undecided | parents | family.starts | family.held
    return frozenset({family.champion, *lineage[:keep], *held}) & family.parents.keys()


def unneeded(connection: Connection, agent: str, *, keep: int) -> list[Version]:
    """Versions that nobody needs and that were not pruned yet, oldest first."""
    stays = needed(_family(connection, agent), keep=keep)
    return [one for one in versions_of(connection, agent) if one.number not in stays and one.pruned_s is None]


def mark(connection: Connection, going: Sequence[Version]) -> None:
    """Nobody counts on these versions' directories from now on; called with what `unneeded` just said."""
    for one in going:
        connection.execute(
            update(versions)
            .where(versions.c.agent == one.agent, versions.c.number == one.number)
            .values(pruned_s=now_s(connection))
        )


def writers(connection: Connection, agent: str) -> Writers:
    """Who may be writing for the agent. Whoever writes with another token can record nothing any more."""
    query = select(turns.c.id, turns.c.token, turns.c.number)
    rows = connection.execute(query.where(turns.c.agent == agent, in_state(TurnState.OPEN))).all()
    return Writers(
        drafts=frozenset((row.id, row.token) for row in rows), numbers=frozenset(row.number for row in rows)
    )


def _family(connection: Connection, agent: str) -> Family:
    models = {model for replica in replica_states(connection) for model in replica.models}
    known = versions_of(connection, agent)
    unfinished = (
        select(turns.c.parent)
        .join(passes, passes.c.id == turns.c.pass_id)
        .where(turns.c.agent == agent, passes.c.closed_s.is_(None))
    )
    return Family(
        parents={one.number: one.parent for one in known},
        champion=champion(connection, agent),
        wanted=frozenset(row.number for row in wanted(connection) if row.agent == agent),
        undecided=frozenset(one.number for one in undecided(connection) if one.agent == agent),
        starts=frozenset(connection.scalars(unfinished)),
        held=frozenset(one.number for one in known if one.model in models),
    )
