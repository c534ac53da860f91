"""Receipts: what one event changed, by the turns that had it, their versions and verdicts.

A receipt is derived from rows that exist for other reasons; nothing is stored for receipts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, select

from ledger.events import TEACHING, KeptEvent, Kind, Role, Status
from ledger.learning.event_decisions import EventDecision, decisions_about
from ledger.reports.examples import Example, changed_examples, examples_of
from ledger.schema import decisions, events, turn_events, turns, versions
from ledger.turn_states import EventResult, TurnPart, TurnState, stored_result
from ledger.versions.decisions import SETTLED, Decision, Verdict, last_verdict, read_decisions
from ledger.versions.desired import champion
from ledger.versions.lineage import lineage_of, version_name

EXAMPLES_MAX = 3
_DECISIONS_MAX = 200  # of an agent, the newest, whose evidence is searched


class Fate(StrEnum):
    """What became of an event."""

    LIVE = "live"  # taught to the champion or an ancestor of it
    JUDGING = "judging"  # taught to a candidate
    LEARNING = "learning"  # in a turn that runs
    QUEUED = "queued"  # in the backlog
    WAITING = "waiting"  # for an interaction it names
    EVIDENCE = "evidence"  # of role gate or dev: never trained on
    STANDBY = "standby"  # an approval: turns train it as an anchor
    OUT = "out"  # superseded, retracted, undone, held, contested, barren, known; the status says which
    NOT_YOURS = "not_yours"  # acts on other people's event, without the right to
    DONE = "done"  # a retraction, applied


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnReceipt:
    """One turn that had the event, and its result."""

    turn_id: int
    pass_id: int
    part: TurnPart
    result: EventResult | None  # None while the turn is open, and if it was void
    state: TurnState
    reason: str | None
    version: str | None
    verdict: Verdict | None
    decided_s: float | None
    reasons: tuple[str, ...]
    serving: bool  # the champion is this version or comes from it

    def to_json(self) -> dict[str, Any]:
        """The turn for programs."""
        return {
            "turn": self.turn_id,
            "pass": self.pass_id,
            "part": self.part.value,
            "outcome": None if self.result is None else self.result.outcome.value,
            "outcome_reason": None if self.result is None else self.result.reason,
            "state": self.state.value,
            "reason": self.reason,
            "version": self.version,
            "verdict": None if self.verdict is None else self.verdict.value,
            "decided_s": self.decided_s,
            "reasons": list(self.reasons),
            "serving": self.serving,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPrompt:
    """One decision for which the gate asked the event's prompt, and both answers to it."""

    version: str
    verdict: Verdict
    decided_s: float
    example: Example

    def to_json(self) -> dict[str, Any]:
        """The decision for programs."""
        return {
            "version": self.version,
            "verdict": self.verdict.value,
            "decided_s": self.decided_s,
            "suite": self.example.suite,
            **{name: value for name, value in self.example.to_json().items() if name != "event"},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Everything that is known about one event."""

    kept: KeptEvent
    status_reason: str | None
    fate: Fate
    turns: tuple[TurnReceipt, ...]  # oldest first
    judged: tuple[JudgedPrompt, ...]
    live_since_s: float | None
    examples: tuple[Example, ...]  # other prompts that the version it went live with answers better
    decided: tuple[EventDecision, ...] = ()  # what people decided about it, oldest first

    def to_json(self) -> dict[str, Any]:
        """The receipt for programs."""
        kept, event = self.kept, self.kept.event
        return {
            "uid": event.uid,
            "fate": self.fate.value,
            "status": kept.status.value,
            "status_reason": self.status_reason,
            "kind": event.kind.value,
            "agent": event.agent,
            "author": event.author,
            "role": None if event.role is None else event.role.value,
            "revision": event.revision,
            "forgotten": kept.forgotten,
            "stored": {
                "topic": kept.topic,
                "partition": kept.partition,
                "offset": kept.offset,
                "received_s": kept.received_s,
            },
            "live_since_s": self.live_since_s,
            "turns": [turn.to_json() for turn in self.turns],
            "judged": [prompt.to_json() for prompt in self.judged],
            "changed": [example.to_json() for example in self.examples],
            "decided": [decision.to_json() for decision in self.decided],
        }


def receipt(connection: Connection, kept: KeptEvent) -> Receipt:
    """The event's receipt as of now."""
    agent = kept.event.agent
    lineage = set(lineage_of(connection, agent, champion(connection, agent)))
    decided = _decisions_by_version(connection, agent)
    receipts = tuple(_turn_receipts(connection, kept.seq, lineage, decided))
    taught_in = [turn for turn in receipts if turn.part is TurnPart.NEW]
    live = next((turn for turn in taught_in if turn.serving and turn.decided_s), None)
    reason = select(events.c.status_reason).where(events.c.seq == kept.seq)
    return Receipt(
        kept=kept,
        status_reason=connection.scalar(reason),
        fate=fate_of(kept, receipts),
        turns=receipts,
        judged=tuple(_judged_prompts(connection, agent, kept.event.uid, decided)),
        live_since_s=None if live is None else live.decided_s,
        examples=() if live is None else _better_answers(live, decided),
        decided=tuple(decisions_about(connection, kept.seq)),
    )


def fate_of(kept: KeptEvent, receipts: Iterable[TurnReceipt]) -> Fate:
    """What became of an event with this status that was in these turns."""
    match kept.status:
        case Status.APPLIED:
            return Fate.DONE
        case Status.WAITING:
            return Fate.WAITING
        case Status.NOT_YOURS:
            return Fate.NOT_YOURS
        case Status.OPEN:
            pass
        case _:
            return Fate.OUT
    if kept.event.role is not Role.TRAIN:
        return Fate.EVIDENCE
    taught_in = [turn for turn in receipts if turn.part is TurnPart.NEW]
    if any(turn.serving for turn in taught_in):
        return Fate.LIVE
    if any(turn.version is not None and turn.verdict not in SETTLED for turn in taught_in):
        return Fate.JUDGING
    if any(turn.state is TurnState.OPEN for turn in taught_in):
        return Fate.LEARNING
    assert kept.event.kind is not Kind.RETRACTION, "retractions are applied or stay so"
    return Fate.QUEUED if kept.event.kind in TEACHING else Fate.STANDBY


def _better_answers(live: TurnReceipt, decided: Mapping[int, list[Decision]]) -> tuple[Example, ...]:
    """Prompts of gate events that the version of that turn answers better than its parent did."""
    promotions = (
        decision
        for decisions_of_version in decided.values()
        for decision in decisions_of_version
        if decision.decided_s == live.decided_s and decision.verdict is Verdict.PROMOTE
    )
    promotion = next(promotions, None)
    examples = () if promotion is None else changed_examples(promotion.evidence)
    better = [example for example in examples if example.after > example.before and not example.suite]
    return tuple(better[:EXAMPLES_MAX])


def _turn_receipts(
    connection: Connection, seq: int, lineage: set[int], decided: Mapping[int, list[Decision]]
) -> Iterable[TurnReceipt]:
    query = (
        select(
            turn_events.c.part, turn_events.c.outcome, turn_events.c.outcome_reason, turns, versions.c.hash
        )
        .join(turns, turns.c.id == turn_events.c.turn_id)
        .outerjoin(versions, versions.c.turn_id == turns.c.id)
        .where(turn_events.c.event_seq == seq)
        .order_by(turns.c.id, turn_events.c.place)
    )
    for row in connection.execute(query):
        has_version = row.hash is not None
        decisions_of_version = decided.get(row.number) if has_version else None
        last = last_verdict(decisions_of_version or ())
        yield TurnReceipt(
            turn_id=row.id,
            pass_id=row.pass_id,
            part=TurnPart(row.part),
            result=stored_result(row.outcome, row.outcome_reason),
            state=TurnState(row.state),
            reason=row.reason,
            version=version_name(row.number, row.hash) if has_version else None,
            verdict=None if last is None else last.verdict,
            decided_s=None if last is None else last.decided_s,
            reasons=() if last is None else last.evidence.reasons,
            serving=has_version and row.number in lineage,
        )


def _judged_prompts(
    connection: Connection, agent: str, uid: str, decided: Mapping[int, list[Decision]]
) -> Iterable[JudgedPrompt]:
    hashes = select(versions.c.number, versions.c.hash).where(versions.c.agent == agent)
    names = {row.number: version_name(row.number, row.hash) for row in connection.execute(hashes)}
    for number in sorted(decided):
        for decision in decided[number]:
            for example in examples_of(decision.evidence):
                if example.uid == uid:
                    yield JudgedPrompt(
                        version=names.get(number, f"v{number}"),
                        verdict=decision.verdict,
                        decided_s=decision.decided_s,
                        example=example,
                    )


def _decisions_by_version(connection: Connection, agent: str) -> dict[int, list[Decision]]:
    """The agent's newest decisions by version number, oldest first."""
    query = (
        select(decisions)
        .where(decisions.c.agent == agent)
        .order_by(decisions.c.id.desc())
        .limit(_DECISIONS_MAX)
    )
    by_version: dict[int, list[Decision]] = {}
    for decision in reversed(read_decisions(connection, query)):
        by_version.setdefault(decision.number, []).append(decision)
    return by_version
