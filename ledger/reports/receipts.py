"""What did my feedback change? From an event to the turns that took it, their versions and verdicts.

Everything is derived from what was written down anyway; nothing is stored for receipts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, select

from ledger.events import TEACHING, KeptEvent, Kind, Role, Status
from ledger.schema import decisions, events, turn_events, turns, versions
from ledger.versions.decisions import SETTLED, Decision, Verdict, read_decisions
from ledger.versions.desired import champion
from ledger.versions.evidence import Evidence, Pair
from ledger.versions.lineage import lineage_of, version_name

EXAMPLES_MAX = 3
_DECISIONS_MAX = 200  # an agent's newest, looked through for evidence


class Fate(StrEnum):
    """What became of an event."""

    LIVE = "live"  # taught to a version the champion comes from
    JUDGING = "judging"  # taught to a candidate
    LEARNING = "learning"  # in a turn that runs
    QUEUED = "queued"  # in the backlog
    WAITING = "waiting"  # for an interaction it names
    EVIDENCE = "evidence"  # of role gate or dev: never trained on
    STANDBY = "standby"  # an approval: shown in turns as what should not change
    OUT = "out"  # superseded, retracted, held, contested, barren, known; the status says which
    DONE = "done"  # a retraction, applied


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnReceipt:
    """One turn that had the event, and what came of it."""

    turn_id: int
    pass_id: int
    part: str
    outcome: str | None  # trained, already_known, barren: …; None before the turn closed
    state: str  # of the turn: open, made, dropped, void
    reason: str | None
    version: str | None
    verdict: Verdict | None
    decided_s: float | None
    reasons: tuple[str, ...]
    serving: bool  # the champion is this version or comes from it


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One decision that asked this event's prompt, and how it was answered before and after."""

    version: str
    verdict: Verdict
    decided_s: float
    suite: bool  # as part of the no-harm suite; otherwise as evidence of learning
    before: float  # scores
    after: float
    before_text: str | None
    after_text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A prompt the version was judged on: how its parent answered, and how it does."""

    uid: str
    suite: bool
    before: float  # scores
    after: float
    before_text: str | None
    after_text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """All that is known about one event."""

    kept: KeptEvent
    status_reason: str | None
    fate: Fate
    taken: tuple[TurnReceipt, ...]  # oldest first
    judged: tuple[Judged, ...]
    live_since_s: float | None
    examples: tuple[Example, ...]  # what else the version it went live with answers better


def receipt(connection: Connection, kept: KeptEvent) -> Receipt:
    """The event's receipt as of now."""
    agent = kept.event.agent
    serving = set(lineage_of(connection, agent, champion(connection, agent)))
    verdicts = _decisions(connection, agent)
    taken = tuple(_taken(connection, kept.seq, serving, verdicts))
    live = [one for one in taken if one.serving and one.part == "new" and one.decided_s]
    reason = select(events.c.status_reason).where(events.c.seq == kept.seq)
    return Receipt(
        kept=kept,
        status_reason=connection.scalar(reason),
        fate=fate_of(kept, taken),
        taken=taken,
        judged=tuple(_judged(connection, agent, kept.event.uid, verdicts)),
        live_since_s=live[0].decided_s if live else None,
        examples=_examples(live[0], verdicts) if live else (),
    )


def fate_of(kept: KeptEvent, taken: Iterable[TurnReceipt]) -> Fate:
    """What became of an event with this status, taken by these turns."""
    match kept.status:
        case Status.APPLIED:
            return Fate.DONE
        case Status.WAITING:
            return Fate.WAITING
        case Status.OPEN:
            pass
        case _:
            return Fate.OUT
    if kept.event.role is not Role.TRAIN:
        return Fate.EVIDENCE
    new = [one for one in taken if one.part == "new"]
    if any(one.serving for one in new):
        return Fate.LIVE
    if any(one.version is not None and one.verdict not in SETTLED for one in new):
        return Fate.JUDGING
    if any(one.state == "open" for one in new):
        return Fate.LEARNING
    assert kept.event.kind is not Kind.RETRACTION, "retractions are applied or stay so"
    return Fate.QUEUED if kept.event.kind in TEACHING else Fate.STANDBY


def examples_of(evidence: Evidence) -> tuple[Example, ...]:
    """Prompts whose score changed, most improved first."""
    pairs = [(pair, False) for pair in evidence.gate] + [(pair, True) for pair in evidence.suite]
    changed = [(pair, suite) for pair, suite in pairs if pair.before != pair.after]
    changed.sort(key=lambda pair_and_suite: pair_and_suite[0].before - pair_and_suite[0].after)
    return tuple(_example(evidence, pair, suite) for pair, suite in changed)


def _example(evidence: Evidence, pair: Pair, suite: bool) -> Example:
    answers = evidence.answers.get(pair.event)
    return Example(
        uid=pair.event,
        suite=suite,
        before=pair.before,
        after=pair.after,
        before_text=None if answers is None else answers.before,
        after_text=None if answers is None else answers.after,
    )


def _examples(taken: TurnReceipt, verdicts: Mapping[int, list[Decision]]) -> tuple[Example, ...]:
    """What the version of that turn answers better than its parent did."""
    promoted = (
        decision
        for decided in verdicts.values()
        for decision in decided
        if decision.decided_s == taken.decided_s and decision.verdict is Verdict.PROMOTE
    )
    decision = next(promoted, None)
    found = () if decision is None else examples_of(decision.evidence)
    return tuple(one for one in found if one.after > one.before and not one.suite)[:EXAMPLES_MAX]


def _taken(
    connection: Connection, seq: int, serving: set[int], verdicts: Mapping[int, list[Decision]]
) -> Iterable[TurnReceipt]:
    query = (
        select(turn_events.c.part, turn_events.c.outcome, turns, versions.c.hash)
        .join(turns, turns.c.id == turn_events.c.turn_id)
        .outerjoin(versions, versions.c.turn_id == turns.c.id)
        .where(turn_events.c.event_seq == seq)
        .order_by(turns.c.id, turn_events.c.place)
    )
    for row in connection.execute(query):
        made = row.hash is not None
        decided = verdicts.get(row.number) if made else None
        last = decided[-1] if decided else None
        yield TurnReceipt(
            turn_id=row.id,
            pass_id=row.pass_id,
            part=row.part,
            outcome=row.outcome,
            state=row.state,
            reason=row.reason,
            version=version_name(row.number, row.hash) if made else None,
            verdict=None if last is None else last.verdict,
            decided_s=None if last is None else last.decided_s,
            reasons=() if last is None else last.evidence.reasons,
            serving=made and row.number in serving,
        )


def _judged(
    connection: Connection, agent: str, uid: str, verdicts: Mapping[int, list[Decision]]
) -> Iterable[Judged]:
    hashes = select(versions.c.number, versions.c.hash).where(versions.c.agent == agent)
    names = {row.number: version_name(row.number, row.hash) for row in connection.execute(hashes)}
    for number in sorted(verdicts):
        for decision in verdicts[number]:
            evidence = decision.evidence
            pairs = [(pair, False) for pair in evidence.gate] + [(pair, True) for pair in evidence.suite]
            answers = evidence.answers.get(uid)
            for pair, suite in pairs:
                if pair.event == uid:
                    yield Judged(
                        version=names.get(number, f"v{number}"),
                        verdict=decision.verdict,
                        decided_s=decision.decided_s,
                        suite=suite,
                        before=pair.before,
                        after=pair.after,
                        before_text=None if answers is None else answers.before,
                        after_text=None if answers is None else answers.after,
                    )


def _decisions(connection: Connection, agent: str) -> dict[int, list[Decision]]:
    """The agent's newest decisions by version number, oldest first."""
    query = (
        select(decisions)
        .where(decisions.c.agent == agent)
        .order_by(decisions.c.id.desc())
        .limit(_DECISIONS_MAX)
    )
    found: dict[int, list[Decision]] = {}
    for decision in reversed(read_decisions(connection, query)):
        found.setdefault(decision.number, []).append(decision)
    return found
