"""Versions: the immutable adapters of an agent, and which was trained from which."""

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, select

from ledger.schema import versions

BASE = 0
"""The version number of an agent that serves the base model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One immutable adapter of one agent. Number 0 is the base model and has no row."""

    agent: str
    number: int
    hash: str
    base_hash: str
    parent: int
    turn_id: int
    through_seq: int  # the newest event that planning of its turn saw
    path: str  # relative to the adapter store
    made_s: float
    pruned_s: float | None = None  # when its directory was removed (`ledger.upkeep.pruning`)

    @property
    def name(self) -> str:
        return version_name(self.number, self.hash)

    @property
    def model(self) -> str:
        """Its name on a replica."""
        return f"{self.agent}@{self.name}"


def version_name(number: int, content_hash: str) -> str:
    """`v7-3fa2c1`; `v0` for the base."""
    return "v0" if number == BASE else f"v{number}-{content_hash[:6]}"


def pruned_notice(version: Version) -> str:
    """The message for a person who asks for the files of a pruned version."""
    assert version.pruned_s is not None
    day = time.strftime("%Y-%m-%d", time.gmtime(version.pruned_s))
    return f"{version.agent}@{version.name} was pruned on {day}: its files are gone"


def versions_of(connection: Connection, agent: str) -> list[Version]:
    """An agent's versions, oldest first."""
    return read_versions(
        connection, select(versions).where(versions.c.agent == agent).order_by(versions.c.number)
    )


def version(connection: Connection, agent: str, number: int) -> Version | None:
    """One version; None for the base and for numbers that were never made."""
    query = select(versions).where(versions.c.agent == agent, versions.c.number == number)
    return next(iter(read_versions(connection, query)), None)


def lineage_of(connection: Connection, agent: str, number: int) -> list[int]:
    """The version and its ancestors, newest first, ending with the base."""
    parents = {version.number: version.parent for version in versions_of(connection, agent)}
    line = [number]
    while line[-1] != BASE:
        line.append(parents[line[-1]])
    return line


def turns_between(connection: Connection, agent: str, number: int) -> dict[str, int]:
    """How many turns lie between this version and every version of the agent, by name.

    They are counted up to the last version from which both come, and down again: a refused candidate of the
    champion is one turn away from it.
    """
    versions = {version.number: version for version in versions_of(connection, agent)}

    def line_of(member: int) -> list[int]:
        line = [member]
        while line[-1] != BASE:
            line.append(versions[line[-1]].parent)
        return line

    own = line_of(number)
    distances = {}
    for member in (BASE, *versions):
        line = line_of(member)
        common = next(ancestor for ancestor in line if ancestor in own)
        name = version_name(BASE, "") if member == BASE else versions[member].name
        distances[name] = line.index(common) + own.index(common)
    return distances


def read_versions(connection: Connection, query: Select[Any]) -> list[Version]:
    """The versions that a query of whole rows selects."""
    return [
        Version(
            agent=row.agent,
            number=row.number,
            hash=row.hash,
            base_hash=row.base_hash,
            parent=row.parent,
            turn_id=row.turn_id,
            through_seq=row.through_seq,
            path=row.path,
            made_s=row.made_s,
            pruned_s=row.pruned_s,
        )
        for row in connection.execute(query)
    ]
