"""Finds versions whose directories are no longer needed, and marks them as pruned in the ledger.

The rows stay, so that `clorad why` can answer. A version is marked before its directory is removed, so that
a version without a mark has its directory, whenever a process is killed.
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
    """One agent's versions by number, and the numbers of those that something needs."""

    parents: Mapping[int, int]  # of every version
    champion: int
    wanted: frozenset[int] = frozenset()  # for any purpose
    undecided: frozenset[int] = frozenset()
    starts: frozenset[int] = frozenset()  # parents of turns of unfinished passes
    loaded: frozenset[int] = frozenset()  # listed by a replica, which may read the files again


@dataclass(frozen=True, slots=True, kw_only=True)
class Writers:
    """The learners whose directories in the adapter store may still become versions of the agent."""

    drafts: frozenset[tuple[int, int]]  # turn and fencing token of every open turn
    numbers: frozenset[int]  # of the versions these turns make


def needed(family: Family, *, keep: int) -> frozenset[int]:
    """The versions that must keep their directories; of the champion's lineage, the newest `keep`."""
    assert keep >= 1, "the champion itself is the first of its lineage"
    lineage = [family.champion]
    while lineage[-1] != BASE:
        lineage.append(family.parents[lineage[-1]])
    parents = frozenset(family.parents[number] for number in family.undecided)
    in_use = family.wanted | family.undecided | parents | family.starts | family.loaded
    return frozenset({family.champion, *lineage[:keep], *in_use}) & family.parents.keys()


def unneeded(connection: Connection, agent: str, *, keep: int) -> list[Version]:
    """Versions that nothing needs and that were not pruned yet, oldest first."""
    needed_numbers = needed(_family(connection, agent), keep=keep)
    return [
        version
        for version in versions_of(connection, agent)
        if version.number not in needed_numbers and version.pruned_s is None
    ]


def mark(connection: Connection, pruned: Sequence[Version]) -> None:
    """Mark these versions as pruned. `unneeded` must have returned them in the same transaction."""
    for version in pruned:
        connection.execute(
            update(versions)
            .where(versions.c.agent == version.agent, versions.c.number == version.number)
            .values(pruned_s=now_s(connection))
        )


def writers(connection: Connection, agent: str) -> Writers:
    """The open turns of the agent. A learner with another token can record no version any more."""
    query = select(turns.c.id, turns.c.token, turns.c.number)
    rows = connection.execute(query.where(turns.c.agent == agent, in_state(TurnState.OPEN))).all()
    return Writers(
        drafts=frozenset((row.id, row.token) for row in rows), numbers=frozenset(row.number for row in rows)
    )


def _family(connection: Connection, agent: str) -> Family:
    models = {model for replica in replica_states(connection) for model in replica.models}
    agent_versions = versions_of(connection, agent)
    unfinished = (
        select(turns.c.parent)
        .join(passes, passes.c.id == turns.c.pass_id)
        .where(turns.c.agent == agent, passes.c.closed_s.is_(None))
    )
    return Family(
        parents={version.number: version.parent for version in agent_versions},
        champion=champion(connection, agent),
        wanted=frozenset(row.number for row in wanted(connection) if row.agent == agent),
        undecided=frozenset(version.number for version in undecided(connection) if version.agent == agent),
        starts=frozenset(connection.scalars(unfinished)),
        loaded=frozenset(version.number for version in agent_versions if version.model in models),
    )
