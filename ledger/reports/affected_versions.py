"""The versions of an agent that learned from given events, and the version before them to go back to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from ledger.versions.desired import champion
from ledger.versions.lineage import BASE, Version, lineage_of, versions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class AffectedVersions:
    """Versions of one agent that learned from the events, and the version to go back to."""

    agent: str
    versions: tuple[Version, ...]
    serving: tuple[str, ...]  # names, from the champion down to its oldest ancestor that learned from them
    back_to: int | None  # the newest version before these that still has its files

    @property
    def go_back(self) -> str | None:
        """The command that makes the version before them serve again; None if none of these serves."""
        return None if self.back_to is None else rollback_command(self.agent, self.back_to)

    def to_json(self) -> dict[str, Any]:
        """The versions for programs."""
        return {
            "agent": self.agent,
            "versions": [version.name for version in self.versions],
            "serving": list(self.serving),
            "go_back": self.go_back,
        }


def affected_versions(connection: Connection, agent: str, taught: Sequence[Version]) -> AffectedVersions:
    """The agent's versions in `taught`, and what must be undone to serve none of them."""
    lineage = lineage_of(connection, agent, champion(connection, agent))  # newest first
    version_by_number = {version.number: version for version in versions_of(connection, agent)}
    places = [lineage.index(version.number) for version in taught if version.number in lineage]
    oldest = max(places, default=-1)
    before = lineage[oldest + 1 :] if places else []
    with_files = [number for number in before if number == BASE or version_by_number[number].pruned_s is None]
    return AffectedVersions(
        agent=agent,
        versions=tuple(taught),
        serving=tuple(version_by_number[number].name for number in lineage[: oldest + 1]),
        back_to=with_files[0] if with_files else None,
    )


def rollback_command(agent: str, number: int) -> str:
    """The command that makes that version serve again."""
    return f"clorad rollback {agent} --to {number} --reason '…'"
