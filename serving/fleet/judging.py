"""From a candidate without a verdict to a decision: wanted on a replica, asked, judged, swapped in or not.

Where a candidate stands is read from the ledger at every step, so a fleet role that dies in the middle of
one is followed by another that goes on.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog
from opentelemetry import metrics

from engine.manifest import NewerManifest
from ledger.database import Connection, Database, now_s
from ledger.errors import FlipRefused
from ledger.intake.withdrawn import no_evidence
from ledger.learning.agents import all_agents
from ledger.learning.backlog import refusals_of
from ledger.versions import decisions, desired, lineage
from ledger.versions.decisions import Decision, Verdict
from ledger.versions.desired import Purpose, Wanted
from ledger.versions.evidence import Evidence
from ledger.versions.lineage import BASE, Version
from ledger.versions.promotion import promote
from serving.fleet import evidence as gathering
from serving.fleet.evidence import AnsweredQuestion, Asking, Models
from serving.fleet.gate import GateEvidence, GateLimits, judge, sign_of
from serving.fleet.parity import Parity
from serving.fleet.questions import Question, gate_questions, taught_questions
from serving.fleet.reconciler import gate_home
from serving.fleet.replica import Replica
from serving.fleet.replica_reports import ReplicaReports
from serving.fleet.scoring import UnknownScorer, scorer_named
from serving.fleet.version_check import VersionChecker

log = structlog.get_logger(__name__)
_asked = metrics.get_meter("serving").create_histogram(
    "clorad.gate.duration",
    unit="s",
    explicit_bucket_boundaries_advisory=(1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0),
)

BY = "gate"

SuiteOf = Callable[[Connection, Version], Sequence[Question]]
"""The no-harm suite of a candidate: what it must not do worse than the champion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgingOptions:
    """What the operator decides about judging."""

    limits: GateLimits = field(default_factory=GateLimits)
    asking: Asking = field(default_factory=Asking)
    gate_max: int = 128  # gate prompts, the newest
    receipts_max: int = 16  # taught prompts answered before and after, to show people
    placing_s_max: float = 30.0  # until a replica that does not hold a candidate counts as failing


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """Everything the loop works with."""

    database: Database
    board: ReplicaReports
    shelf: VersionChecker
    replicas: Mapping[str, Replica]  # by URL
    suite: SuiteOf
    redact: Callable[[str], str]  # applied to answers before they are kept
    options: JudgingOptions
    reached: Callable[[str], None] = lambda _: None  # failpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """What the ledger says of one candidate."""

    candidate: Version
    champion: Version | None
    wanted: Mapping[Purpose, Wanted]
    canary: Decision | None
    refusals: int  # since the last promotion
    scorer: str
    waited_s: float  # since it was wanted for what it is wanted for now


def judge_candidates(judging: Judging, over: threading.Event) -> bool:
    """Take every undecided candidate one step further. Returns whether any step was taken."""
    with judging.database.read() as connection:
        standings = [_standing(connection, candidate) for candidate in decisions.undecided(connection)]
    # Those to be loaded first: replicas fetch them while others are asked.
    standings.sort(key=lambda standing: bool(standing.wanted))
    taken = [_step(judging, standing, over) for standing in standings]
    return any(taken)


def _step(judging: Judging, standing: _Standing, over: threading.Event) -> bool:
    if over.is_set():
        return False
    try:
        complaint = _complaint(judging, standing)
    except (OSError, NewerManifest):
        return False  # the store is away or behind, or a newer clorad wrote it; the reconciler says so
    if complaint is not None:
        return _settle(judging, standing, Verdict.ABSTAIN, Evidence(reasons=(complaint,)))
    if standing.canary is not None:
        return _swap(judging, standing, standing.canary)
    if Purpose.GATE not in standing.wanted:
        return _want(judging, standing)
    return _judge(judging, standing, over)


def _complaint(judging: Judging, standing: _Standing) -> str | None:
    """Why the candidate can neither be judged nor served; None where it can. Raises like `fitness`."""
    if standing.canary is not None and not standing.canary.evidence.is_readable:
        return "; ".join(standing.canary.evidence.reasons)
    try:
        scorer_named(standing.scorer)
    except UnknownScorer as unknown:
        return f"the scorer of the agent: {unknown}"
    return judging.shelf.fitness(standing.candidate).complaint


def _want(judging: Judging, standing: _Standing) -> bool:
    with judging.database.write() as connection:
        if not _is_undecided(connection, standing.candidate):
            return False
        desired.want(connection, standing.candidate, Purpose.GATE)
    return True


def _judge(judging: Judging, standing: _Standing, over: threading.Event) -> bool:
    """Ask, judge and record, once a replica holds the candidate."""
    candidate = standing.candidate
    holders = judging.board.holders(candidate.model)
    if not holders:
        failures = judging.board.failures(candidate.model)
        if failures and standing.waited_s > judging.options.placing_s_max:
            return _give_up(judging, standing, failures)
        return False
    url = gate_home(candidate.model, sorted(holders))
    assert url is not None
    began_s = time.monotonic()
    gathered, answered = _gather(judging, standing, judging.replicas[url], holders[url], over)
    _asked.record(time.monotonic() - began_s)
    ruling = judge(gathered, judging.options.limits)
    evidence = gathering.evidence_of(gathered, ruling, answered, replica=url, redact=judging.redact)
    if ruling.verdict is Verdict.PROMOTE:
        return _let_everybody_hold(judging, standing, evidence)
    return _settle(judging, standing, ruling.verdict, evidence)


def _gather(
    judging: Judging, standing: _Standing, replica: Replica, parity: Parity, over: threading.Event
) -> tuple[GateEvidence, list[AnsweredQuestion]]:
    options, candidate = judging.options, standing.candidate
    with judging.database.read() as connection:
        gate = gate_questions(connection, candidate, limit=options.gate_max)
        suite = judging.suite(connection, candidate)
        taught = taught_questions(connection, candidate, limit=options.receipts_max)
    base = replica.base_name() or ""
    champion = base if standing.champion is None else standing.champion.model
    models = Models(before=champion, after=candidate.model)
    on_gate, on_suite, on_taught = (
        gathering.ask(replica, models, questions, options.asking, over) for questions in (gate, suite, taught)
    )
    suite_pairs = gathering.pairs(on_suite, standing.scorer)
    flipped = {pair.event for pair in suite_pairs if sign_of(pair)}
    again = [question for question in suite if question.event in flipped]
    on_suite_again = gathering.ask(replica, models, again, options.asking, over)
    judged = [*on_gate, *on_suite]
    before, after = (
        gathering.speech(spoken, scorer=standing.scorer, canaries=options.asking.canaries)
        for spoken in (
            [(one.question, one.before) for one in judged],
            [(one.question, one.after) for one in judged],
        )
    )
    found = GateEvidence(
        attempt=standing.refusals + 1,
        better=tuple(gathering.pairs(on_gate, standing.scorer)),
        suite=gathering.confirmed(suite_pairs, gathering.pairs(on_suite_again, standing.scorer)),
        before=before,
        after=after,
        parity=parity,
        kl_nats=judging.shelf.fitness(candidate).kl_nats,
    )
    return found, [*on_gate, *on_suite, *on_taught]


def _let_everybody_hold(judging: Judging, standing: _Standing, evidence: Evidence) -> bool:
    """A canary of share 0: every replica loads and probes it before anybody is answered by it."""
    candidate = standing.candidate
    with judging.database.write() as connection:
        if not _is_undecided(connection, candidate):
            return False
        if no_evidence(connection, candidate.agent, evidence.judged_events()):
            return True  # taken back while we asked: it is judged again, by what still stands
        decisions.decide(connection, _decision(candidate, Verdict.CANARY, evidence))
        desired.no_longer_want(connection, candidate.agent, Purpose.GATE)
        desired.want(connection, candidate, Purpose.CANARY)
    log.info("candidate passed the gate", agent=candidate.agent, version=candidate.name)
    return True


def _swap(judging: Judging, standing: _Standing, canary: Decision) -> bool:
    """Flip once every replica in rotation holds the candidate. One that cannot leaves the rotation; one
    must be able to."""
    candidate = standing.candidate
    rotation = [report.url for report in judging.board.rotation()]
    holders = judging.board.holders(candidate.model)
    failures = judging.board.failures(candidate.model)
    waiting = [url for url in rotation if url not in holders and url not in failures]
    late = standing.waited_s > judging.options.placing_s_max
    if not rotation or (waiting and not late) or (not holders and not late):
        return False
    if not holders:
        return _give_up(judging, standing, failures)
    probed = {url: parity.numbers() for url, parity in holders.items()}
    evidence = replace(canary.evidence, replicas=probed, failed=dict(failures))
    judging.reached("fleet-swapping")
    try:
        generation = promote(judging.database, candidate, _decision(candidate, Verdict.PROMOTE, evidence))
    except FlipRefused as refusal:
        # The world changed, not the candidate: an abstention makes the next try no harder.
        refused = replace(canary.evidence, reasons=(str(refusal),))
        return _settle(judging, standing, Verdict.ABSTAIN, refused)
    log.info("promoted", agent=candidate.agent, version=candidate.name, generation=generation)
    return True


def _give_up(judging: Judging, standing: _Standing, failures: Mapping[str, str]) -> bool:
    """Nobody was asked, so nothing speaks against what the candidate was taught: no refusal."""
    evidence = Evidence(reasons=("no replica could hold it",), failed=dict(failures))
    return _settle(judging, standing, Verdict.ABSTAIN, evidence)


def _settle(judging: Judging, standing: _Standing, verdict: Verdict, evidence: Evidence) -> bool:
    """Record the verdict, unless somebody settled the candidate meanwhile."""
    candidate = standing.candidate
    with judging.database.write() as connection:
        if not _is_undecided(connection, candidate):
            return False
        if verdict is Verdict.REFUSE and no_evidence(connection, candidate.agent, evidence.judged_events()):
            return True
        decisions.decide(connection, _decision(candidate, verdict, evidence))
    decided = {"version": candidate.name, "verdict": verdict.value, "reasons": list(evidence.reasons)}
    log.info("candidate decided", agent=candidate.agent, **decided)
    return True


def _decision(candidate: Version, verdict: Verdict, evidence: Evidence) -> Decision:
    return Decision(
        agent=candidate.agent,
        number=candidate.number,
        verdict=verdict,
        by=BY,
        evidence=evidence,
        through_seq=candidate.through_seq,
    )


def _standing(connection: Connection, candidate: Version) -> _Standing:
    wanted = {
        row.purpose: row
        for row in desired.wanted(connection)
        if row.agent == candidate.agent and row.number == candidate.number
    }
    decided = decisions.decisions_of(connection, candidate.agent, candidate.number)
    canaries = [one for one in decided if one.verdict is Verdict.CANARY]
    since_s = max((row.since_s for row in wanted.values()), default=0.0)
    return _Standing(
        candidate=candidate,
        champion=None
        if candidate.parent == BASE
        else lineage.version(connection, candidate.agent, candidate.parent),
        wanted=wanted,
        canary=canaries[-1] if canaries and Purpose.CANARY in wanted else None,
        refusals=refusals_of(connection, candidate.agent),
        scorer=all_agents(connection)[candidate.agent].scorer,
        waited_s=now_s(connection) - since_s if wanted else 0.0,
    )


def _is_undecided(connection: Connection, candidate: Version) -> bool:
    return candidate in decisions.undecided(connection)
