"""Provenance: where a version comes from: the exact events of its turn, their authors, the decisions about
it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from ledger.events import KeptEvent
from ledger.learning.event_queries import events_by_seq
from ledger.learning.retries import Retry, retry_from
from ledger.reports.affected_versions import rollback_command
from ledger.reports.examples import Example, changed_examples
from ledger.schema import events, turn_events, turns
from ledger.turn_states import EventResult, TurnPart, TurnState, stored_result
from ledger.upkeep.erasures import Erasure, all_erasures
from ledger.versions.decisions import Decision, decisions_of
from ledger.versions.desired import champion
from ledger.versions.evidence import Evidence
from ledger.versions.lineage import BASE, Version, lineage_of, version, versions_of


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtEvent:
    """One new event of the version's turn."""

    kept: KeptEvent
    result: EventResult | None  # None if its turn was void

    def to_json(self) -> dict[str, Any]:
        """The event for programs."""
        event = self.kept.event
        return {
            "uid": event.uid,
            "kind": event.kind.value,
            "author": event.author,
            "revision": event.revision,
            "outcome": None if self.result is None else self.result.outcome.value,
            "outcome_reason": None if self.result is None else self.result.reason,
            "status": self.kept.status.value,
            "forgotten": self.kept.forgotten,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Everything that led to one version."""

    version: Version
    parent_name: str
    ancestors: tuple[str, ...]  # names, newest first, ending with v0
    pass_id: int
    attempt: int
    seed: int
    recipe: Mapping[str, Any]
    retry: Retry | None  # None: its turn was no other try after a refusal
    taught: tuple[TaughtEvent, ...]
    shown: Mapping[str, int]  # events of the other parts (replay, anchor, dev), counted
    erasures: tuple[Erasure, ...]  # that took texts of any of these events
    authors: Mapping[str, int]  # events by author, most first
    decisions: tuple[Decision, ...]
    examples: tuple[Example, ...]  # prompts whose score differs from its parent's
    champion: int
    serving: bool  # the champion is this version or comes from it
    adopted: str | None  # from which experiment's version, by whom and why; None: it was trained
    withdrawn_with_it: tuple[str, ...]  # serving versions that come from it, which `undo` withdraws too

    @property
    def undo(self) -> str | None:
        """The command that withdraws the version; None if it does not serve."""
        return rollback_command(self.version.agent, self.version.parent) if self.serving else None

    def to_json(self) -> dict[str, Any]:
        """The version's provenance for programs."""
        described = self.version
        return {
            "agent": described.agent,
            "version": described.name,
            "number": described.number,
            "hash": described.hash,
            "base_hash": described.base_hash,
            "path": described.path,
            "made_s": described.made_s,
            "pruned_s": described.pruned_s,
            "parent": self.parent_name,
            "ancestors": list(self.ancestors),
            "pass": self.pass_id,
            "turn": described.turn_id,
            "attempt": self.attempt,
            "seed": self.seed,
            "recipe": dict(self.recipe),
            "adopted": self.adopted,
            "retry": None if self.retry is None else self.retry.to_json(),
            "authors": dict(self.authors),
            "taught": [taught.to_json() for taught in self.taught],
            "shown": dict(self.shown),
            "erasures": [erasure.to_json() for erasure in self.erasures],
            "decisions": [_decision_json(decision) for decision in self.decisions],
            "serving": self.serving,
            "champion": self.champion,
            "undo": self.undo,
            "undo_also_withdraws": list(self.withdrawn_with_it),
        }


def provenance(connection: Connection, agent: str, number: int) -> Provenance | None:
    """The provenance of `agent`'s version `number`; None if there is no such version."""
    described = version(connection, agent, number)
    if described is None:
        return None
    turn = connection.execute(select(turns).where(turns.c.id == described.turn_id)).one()
    taught, shown = _turn_members(connection, described.turn_id)
    champion_number = champion(connection, agent)
    lineage = lineage_of(connection, agent, champion_number)
    names = {version.number: version.name for version in versions_of(connection, agent)} | {BASE: "v0"}
    decisions = decisions_of(connection, agent, number)
    serving = number in lineage
    return Provenance(
        version=described,
        parent_name=names[described.parent],
        ancestors=tuple(names[ancestor] for ancestor in lineage_of(connection, agent, number)[1:]),
        pass_id=turn.pass_id,
        attempt=turn.attempt,
        seed=turn.seed,
        recipe=turn.recipe,
        retry=retry_from(turn.retry),
        adopted=turn.reason if turn.state == TurnState.ADOPTED else None,
        taught=taught,
        shown=shown,
        erasures=_erasures(connection, described.turn_id),
        authors=dict(Counter(member.kept.event.author for member in taught).most_common()),
        decisions=tuple(decisions),
        examples=_newest_examples(decisions),
        champion=champion_number,
        serving=serving,
        withdrawn_with_it=tuple(
            names[descendant] for descendant in (lineage[: lineage.index(number)] if serving else ())
        ),
    )


def _turn_members(connection: Connection, turn_id: int) -> tuple[tuple[TaughtEvent, ...], dict[str, int]]:
    """The new events of a turn, and how many it had of each other part."""
    members = connection.execute(
        select(turn_events).where(turn_events.c.turn_id == turn_id).order_by(turn_events.c.place)
    ).all()
    new = [row for row in members if row.part == TurnPart.NEW]
    kept = events_by_seq(connection, [row.event_seq for row in new])
    taught = tuple(
        TaughtEvent(kept=kept[row.event_seq], result=stored_result(row.outcome, row.outcome_reason))
        for row in new
    )
    return taught, dict(Counter(row.part for row in members if row.part != TurnPart.NEW))


def _erasures(connection: Connection, turn_id: int) -> tuple[Erasure, ...]:
    forgotten = (
        select(events.c.forgotten)
        .join(turn_events, turn_events.c.event_seq == events.c.seq)
        .where(turn_events.c.turn_id == turn_id, events.c.forgotten.is_not(None))
    )
    ids = set(connection.scalars(forgotten))
    return tuple(erasure for erasure in all_erasures(connection) if erasure.id in ids) if ids else ()


def _newest_examples(decisions: Sequence[Decision]) -> tuple[Example, ...]:
    """The examples of the last decision that has any."""
    for decision in reversed(decisions):
        if examples := changed_examples(decision.evidence):
            return examples
    return ()


def _decision_json(decision: Decision) -> dict[str, Any]:
    return {
        "verdict": decision.verdict.value,
        "by": decision.by,
        "decided_s": decision.decided_s,
        "through_seq": decision.through_seq,
        "evidence": _evidence_json(decision.evidence),
    }


def _evidence_json(evidence: Evidence) -> dict[str, Any]:
    if evidence.is_readable:
        return evidence.to_json()
    return {"is_readable": False, "reasons": list(evidence.reasons)}
