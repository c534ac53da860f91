"""Short ways to lease, open a pass, make a version and decide about it."""

from collections.abc import Mapping, Sequence
from typing import Any

from ledger import leases
from ledger.database import Database
from ledger.events import KeptEvent
from ledger.learning import event_queries, passes, turns
from ledger.learning.passes import Pass
from ledger.learning.turns import Turn, TurnEvent, TurnPlan
from ledger.turn_states import EventOutcome, EventResult, TurnPart
from ledger.versions import decisions, desired, promotion
from ledger.versions.decisions import Decision, Verdict
from ledger.versions.evidence import Answers, Evidence, Judgement, Pair
from ledger.versions.lineage import Version, version_name

HOLDER = "learner-1"
FORM = {"threads": 1, "device": "cpu"}
BASE_HASH = "b" * 64


def lease(database: Database, *agents: str, holder: str = HOLDER, ttl_s: float = 10.0) -> dict[str, int]:
    """Fencing tokens by agent; agents leased by others are missing."""
    names = [turns.lease_name(agent) for agent in agents]
    tokens = leases.acquire(database, names, holder=holder, ttl_s=ttl_s)
    return {name.removeprefix(turns.lease_name("")): token for name, token in tokens.items()}


def untaught_events(database: Database, agent: str) -> list[KeptEvent]:
    with database.read() as connection:
        return event_queries.untaught(connection, agent, limit=1000)


def build_plan(database: Database, agent: str, token: int, **changed: Any) -> TurnPlan:
    """A turn of all the agent's untaught events."""
    untaught = untaught_events(database, agent)
    with database.read() as connection:
        parent = desired.champion(connection, agent)
        newest = decisions.newest_seq(connection, agent)
    fields: dict[str, Any] = {
        "agent": agent,
        "parent": parent,
        "recipe": {"rank": 4},
        "labelling": {"baseline": 0.25},
        "seed": 7,
        "attempt": 1,
        "through_seq": newest,
        "token": token,
        "events": tuple(
            TurnEvent(seq=kept.seq, part=TurnPart.NEW, revision=kept.event.revision) for kept in untaught
        ),
    }
    return TurnPlan(**{**fields, **changed})


def open_pass(database: Database, *agents: str, virtual_time: float = 0.0, **changed: Any) -> Pass:
    tokens = lease(database, *agents)
    plans = [build_plan(database, agent, tokens[agent], **changed) for agent in agents]
    return passes.open_pass(database, plans, holder=HOLDER, form=FORM, virtual_time=virtual_time)


TRAINED = EventResult(outcome=EventOutcome.TRAINED)
ALREADY_KNOWN = EventResult(outcome=EventOutcome.ALREADY_KNOWN)


def build_results(turn: Turn) -> dict[int, EventResult]:
    """Every event of the turn was trained on."""
    return {event.seq: TRAINED for event in turn.plan.events}


def build_barren(reason: str) -> EventResult:
    return EventResult(outcome=EventOutcome.BARREN, reason=reason)


def record(
    database: Database,
    turn: Turn,
    *,
    token: int | None = None,
    tokens: int = 100,
    results: Mapping[int, EventResult] | None = None,
) -> Version:
    content_hash = f"{turn.id:06x}" + "0" * 58
    return turns.record_version(
        database,
        turn,
        token=turn.plan.token if token is None else token,
        content_hash=content_hash,
        base_hash=BASE_HASH,
        path=f"{turn.plan.agent}/{version_name(turn.number, content_hash)}",
        tokens=tokens,
        results=results if results is not None else build_results(turn),
    )


def build_version(
    database: Database, agent: str = "billing", *, tokens: int = 100, **changed: Any
) -> Version:
    """A candidate taught with everything untaught."""
    [turn] = open_pass(database, agent, **changed).turns
    made = record(database, turn, tokens=tokens)
    leases.release(database, {turns.lease_name(agent): turn.plan.token})
    return made


JUDGEMENT = Judgement(alpha_k=0.025, p=0.0195, wins=8, losses=1, ties=3, suite=48)


def build_evidence(*won: str, reasons: Sequence[str] = (), **changed: Any) -> Evidence:
    """Evidence in which the candidate wins the prompts of these events (uids), with both answers."""
    fields: dict[str, Any] = {
        "reasons": tuple(reasons),
        "judgement": JUDGEMENT,
        "gate": tuple(Pair(event=uid, before=0.0, after=1.0) for uid in won),
        "answers": {
            uid: Answers(before="It was dropped.", after="It is cancelled. notify: true") for uid in won
        },
    }
    return Evidence(**{**fields, **changed})


def build_decision(version: Version, verdict: Verdict, **changed: Any) -> Decision:
    fields: dict[str, Any] = {
        "agent": version.agent,
        "number": version.number,
        "verdict": verdict,
        "by": "gate",
        "evidence": Evidence(judgement=JUDGEMENT),
        "through_seq": version.through_seq,
    }
    return Decision(**{**fields, **changed})


def promote(database: Database, version: Version) -> int:
    return promotion.promote(database, version, build_decision(version, Verdict.PROMOTE))


def refuse(database: Database, version: Version, verdict: Verdict = Verdict.REFUSE, **changed: Any) -> None:
    with database.write() as connection:
        decisions.decide(connection, build_decision(version, verdict, **changed))


def seqs(events: Sequence[KeptEvent]) -> list[int]:
    return [kept.seq for kept in events]
