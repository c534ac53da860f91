"""A list of an agent's versions: events, last verdict, and whether each serves."""

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from ledger.schema import events, turn_events
from ledger.turn_states import TurnPart, in_part
from ledger.versions.decisions import Decision, Verdict, decisions_of
from ledger.versions.desired import champion
from ledger.versions.evidence import Evidence, Judgement
from ledger.versions.lineage import BASE, Version, lineage_of, versions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionSummary:
    """One version in the list."""

    version: Version
    parent_name: str
    events: int  # new ones in its turn
    authors: int  # of these events
    verdict: Verdict | None  # the last; None: not decided yet
    by: str | None
    reasons: tuple[str, ...]
    judgement: Judgement | None  # if the gate decided
    decided_s: float | None
    serving: bool  # it is the champion
    in_lineage: bool  # it is the champion, or the champion comes from it

    def to_json(self) -> dict[str, Any]:
        """The version for programs."""
        return {
            "version": self.version.name,
            "number": self.version.number,
            "hash": self.version.hash,
            "parent": self.parent_name,
            "verdict": None if self.verdict is None else self.verdict.value,
            "by": self.by,
            "reasons": list(self.reasons),
            "judgement": {} if self.judgement is None else asdict(self.judgement),
            "events": self.events,
            "authors": self.authors,
            "made_s": self.version.made_s,
            "decided_s": self.decided_s,
            "pruned_s": self.version.pruned_s,
            "serving": self.serving,
            "in_lineage": self.in_lineage,
        }


def version_list(connection: Connection, agent: str) -> list[VersionSummary]:
    """An agent's versions, newest first."""
    lineage = lineage_of(connection, agent, champion(connection, agent))
    versions = versions_of(connection, agent)
    names = {version.number: version.name for version in versions} | {BASE: "v0"}
    counts = _event_counts(connection, agent)
    decided = decisions_of(connection, agent)
    last = {decision.number: decision for decision in decided if decision.verdict is not Verdict.KEEP}
    return [
        _summary(version, names, counts.get(version.turn_id, (0, 0)), last.get(version.number), lineage)
        for version in reversed(versions)
    ]


def _summary(
    version: Version,
    names: dict[int, str],
    counts: tuple[int, int],
    decision: Decision | None,
    lineage: list[int],
) -> VersionSummary:
    evidence = Evidence() if decision is None else decision.evidence
    events, authors = counts
    return VersionSummary(
        version=version,
        parent_name=names[version.parent],
        events=events,
        authors=authors,
        verdict=None if decision is None else decision.verdict,
        by=None if decision is None else decision.by,
        reasons=evidence.reasons,
        judgement=evidence.judgement,
        decided_s=None if decision is None else decision.decided_s,
        serving=version.number == lineage[0],
        in_lineage=version.number in lineage,
    )


def _event_counts(connection: Connection, agent: str) -> dict[int, tuple[int, int]]:
    """By turn: how many new events it had, and of how many authors."""
    query = (
        select(turn_events.c.turn_id, func.count(), func.count(func.distinct(events.c.author)))
        .join(events, events.c.seq == turn_events.c.event_seq)
        .where(events.c.agent == agent, in_part(TurnPart.NEW))
        .group_by(turn_events.c.turn_id)
    )
    return {row[0]: (int(row[1]), int(row[2])) for row in connection.execute(query)}
