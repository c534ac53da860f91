"""Decides about candidates: a replica loads one, answers questions with it, and the gate judges the answers.

Each step reads the candidate's state from the ledger. When a fleet role dies during a step, the next leader
continues from that state.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog
from opentelemetry import metrics

from engine.manifest import NewerManifest
from feedback.tracing import version_span
from ledger.database import Connection, Database
from ledger.errors import FlipRefused
from ledger.intake.withdrawn import no_evidence
from ledger.learning.candidate_states import CandidateState, candidate_states
from ledger.versions import decisions, desired
from ledger.versions.decisions import BY_GATE, Decision, Verdict
from ledger.versions.desired import Purpose
from ledger.versions.evidence import Circumstances, Evidence
from ledger.versions.gate_modes import GateMode
from ledger.versions.lineage import Version
from ledger.versions.promotion import promote
from rewards.supporters import Supporters
from serving.canary.admission import admit
from serving.canary.steps import CanaryOptions
from serving.canary.unasked import judge_unasked, limits_before
from serving.fleet.answers import Asking, AskingOptions, JudgedModels, model_name
from serving.fleet.gate import GateEvidence, GateLimits, judge
from serving.fleet.gathering import AnswerScoring, Gathered, Questions, evidence_of
from serving.fleet.own_scores import ScoringOptions
from serving.fleet.parity import Parity
from serving.fleet.questions import Question, gate_questions, read_supporters, taught_questions
from serving.fleet.reconciler import judging_replica
from serving.fleet.replica import Replica
from serving.fleet.replica_build import read_build
from serving.fleet.replica_reports import ReplicaReports
from serving.fleet.version_check import VersionChecker
from serving.scoring.registry import ScorerRegistry
from serving.scoring.scorers import UnknownScorer

log = structlog.get_logger(__name__)
_duration = metrics.get_meter("serving").create_histogram(
    "clorad.gate.duration",
    unit="s",
    description="seconds of asking and judging one candidate",
    explicit_bucket_boundaries_advisory=(1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0),
)

SuiteOf = Callable[[Connection, Version, Supporters], Sequence[Question]]
"""The no-harm suite of a candidate: what it must not do worse than the champion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgingOptions:
    """What the operator decides about judging."""

    limits: GateLimits
    asking: AskingOptions
    gate_max: int = 128  # gate prompts, the newest
    receipts_max: int = 16  # taught prompts that both models answer, for receipts
    placing_s_max: float = 30.0  # after which a replica that does not hold a candidate counts as failed
    scoring: ScoringOptions
    canary: CanaryOptions
    image: str  # of the replicas; empty unless vLLM's version does not tell its images apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """Everything the judging loop works with."""

    database: Database
    reports: ReplicaReports
    checker: VersionChecker
    replicas: Mapping[str, Replica]  # by URL
    suite: SuiteOf
    whole_suite: SuiteOf  # the same without a limit: how much there is to compare
    redact: Callable[[str], str]  # applied to answers before they are kept
    options: JudgingOptions
    scorers: ScorerRegistry
    failpoint: Callable[[str], None] = lambda _: None

    @property
    def scoring(self) -> AnswerScoring:
        """How answers are scored."""
        return AnswerScoring(
            scorers=self.scorers,
            options=self.options.scoring,
            redact=self.redact,
            database=self.database,
        )


def judge_candidates(judging: Judging, stopping: threading.Event) -> bool:
    """Take every candidate before its judgement one step further. Returns whether any step was taken."""
    # Candidates that wait for a load come first: replicas load them while others are asked.
    states = sorted(_read_states(judging), key=lambda state: bool(state.wanted))
    steps_taken = [_step(judging, state, stopping) for state in states if not state.has_passed]
    return any(steps_taken)


def promote_candidates(judging: Judging, stopping: threading.Event) -> bool:
    """Promote every candidate that passed the gate and is loaded. Returns whether any step was taken.

    In a thread of its own: asking the next candidate takes a minute, and would delay them so long.
    """
    states = _read_states(judging)
    steps_taken = [_step(judging, state, stopping) for state in states if state.has_passed]
    return any(steps_taken)


def _step(judging: Judging, state: CandidateState, stopping: threading.Event) -> bool:
    if stopping.is_set():
        return False
    try:
        complaint = _complaint(judging, state)
    except (OSError, NewerManifest):
        return False  # the store is away or behind, or a newer clorad wrote it; the reconciler says so
    if complaint is not None:
        return _settle(judging, state, Verdict.ABSTAIN, Evidence(reasons=(complaint,)))
    if state.canary is not None:
        return _swap(judging, state, state.canary)
    if Purpose.GATE not in state.wanted:
        return _want_for_gate(judging, state)
    return _judge(judging, state, stopping)


def _complaint(judging: Judging, state: CandidateState) -> str | None:
    """Why the candidate can neither be judged nor served; None where it can. Raises like `check`."""
    if state.canary is not None and not state.canary.evidence.is_readable:
        return "; ".join(state.canary.evidence.reasons)
    try:
        judging.scorers.check(state.scorer)
    except UnknownScorer as unknown:
        return f"the scorer of the agent: {unknown}"
    return judging.checker.check(state.candidate).complaint


def _want_for_gate(judging: Judging, state: CandidateState) -> bool:
    with judging.database.write() as connection:
        if not _is_undecided(connection, state.candidate):
            return False
        desired.want(connection, state.candidate, Purpose.GATE)
    return True


def _judge(judging: Judging, state: CandidateState, stopping: threading.Event) -> bool:
    """Ask the questions, judge the answers and record the verdict, once a replica holds the candidate."""
    candidate = state.candidate
    holders = judging.reports.holders(candidate.model)
    if not holders:
        failures = judging.reports.failures(candidate.model)
        if failures and state.waited_s > judging.options.placing_s_max:
            return _give_up(judging, state, failures)
        return False
    url = judging_replica(candidate.model, sorted(holders))
    assert url is not None
    if state.gate is not GateMode.CORRECTIONS:
        kl_nats, limits = judging.checker.check(candidate).kl_nats, judging.options.limits
        return _act(judging, state, *judge_unasked(state, kl_nats, limits, replica=url, parity=holders[url]))
    began_s = time.monotonic()
    with version_span("clorad.gate", candidate.agent, candidate.number):
        judged, gathered, under = _gather(judging, state, judging.replicas[url], holders[url], stopping)
        _duration.record(time.monotonic() - began_s)
    options = judging.options
    limits = limits_before(state.canary_share, options.limits, usual_share=options.canary.share)
    ruling = judge(judged, limits)
    evidence = evidence_of(judged, ruling, gathered, replica=url, redact=judging.redact, under=under)
    return _act(judging, state, ruling.verdict, evidence)


def _act(judging: Judging, state: CandidateState, verdict: Verdict, evidence: Evidence) -> bool:
    if verdict is Verdict.PROMOTE:
        return _load_everywhere(judging, state, evidence)
    return _settle(judging, state, verdict, evidence)


def _gather(
    judging: Judging, state: CandidateState, replica: Replica, parity: Parity, stopping: threading.Event
) -> tuple[GateEvidence, Gathered, Circumstances]:
    options, candidate = judging.options, state.candidate
    with judging.database.read() as connection:
        supporters = read_supporters(connection, candidate.agent, authors_min=options.limits.authors_min)
        questions = Questions(
            gate=gate_questions(connection, candidate, supporters, limit=options.gate_max),
            suite=judging.suite(connection, candidate, supporters),
            taught=taught_questions(connection, candidate, limit=options.receipts_max),
        )
    models = JudgedModels(before=model_name(replica, state.champion), after=candidate.model)
    asking = Asking(replica=replica, models=models, options=options.asking, stopping=stopping)
    gathered = judging.scoring.gather(questions, asking, scorer=state.scorer, stopping=stopping)
    kl_nats = judging.checker.check(candidate).kl_nats
    evidence = gathered.evidence(attempt=state.refusals + 1, parity=parity, kl_nats=kl_nats)
    return evidence, gathered, _circumstances(judging, candidate, replica.url)


def _circumstances(judging: Judging, candidate: Version, url: str) -> Circumstances:
    """What its answers are given under now, on that replica. Raises `ReplicaUnavailable`."""
    with judging.database.read() as connection:
        authors_min = judging.options.limits.authors_min
        supporters = read_supporters(connection, candidate.agent, authors_min=authors_min)
        suite = len(judging.whole_suite(connection, candidate, supporters))
    build = read_build(judging.replicas[url])
    return Circumstances(suite=suite, server=build.server(judging.options.image), template=build.template)


def _load_everywhere(judging: Judging, state: CandidateState, evidence: Evidence) -> bool:
    """Make it a canary of share 0: every replica loads and probes it before it answers anybody."""
    candidate = state.candidate
    with judging.database.write() as connection:
        if not _is_undecided(connection, candidate):
            return False
        if no_evidence(connection, candidate.agent, evidence.judged_events()):
            return True  # an event was withdrawn meanwhile: the next round judges without it
        decisions.decide(connection, _decision(candidate, Verdict.CANARY, evidence))
        desired.no_longer_want(connection, candidate.agent, Purpose.GATE)
        desired.want(connection, candidate, Purpose.CANARY)
    log.info("candidate passed the gate", agent=candidate.agent, version=candidate.name)
    return True


def _swap(judging: Judging, state: CandidateState, canary: Decision) -> bool:
    """Promote the candidate once every replica in rotation holds it or failed to load it.

    A replica that fails leaves the rotation. At least one must hold the candidate.
    """
    candidate = state.candidate
    rotation = [report.url for report in judging.reports.rotation()]
    holders = judging.reports.holders(candidate.model)
    failures = judging.reports.failures(candidate.model)
    waiting = [url for url in rotation if url not in holders and url not in failures]
    # A canary with a share was held before: a replica that restarts is waited for.
    late = state.waited_s > judging.options.placing_s_max and not state.wanted[Purpose.CANARY].share
    if not rotation or (waiting and not late) or (not holders and not late):
        return False
    if not holders:
        return _give_up(judging, state, failures)
    if (by := admit(judging.database, candidate, judging.options.canary)) is None:
        return False
    parities = {url: parity.numbers() for url, parity in holders.items()}
    evidence = replace(state.evidence_for(by), replicas=parities, failed=dict(failures))
    if canary.verdict is Verdict.REINSTATE:  # the gate asked nothing: later looks compare with today
        evidence = replace(evidence, under=_circumstances(judging, candidate, sorted(holders)[0]))
    judging.failpoint("fleet-swapping")
    try:
        decision = replace(_decision(candidate, Verdict.PROMOTE, evidence), by=by)
        with version_span("clorad.swap", candidate.agent, candidate.number):
            generation = promote(judging.database, candidate, decision)
    except FlipRefused as refusal:
        # The ledger changed, not the candidate: an abstention, which does not count as a try.
        refused = replace(canary.evidence, reasons=(str(refusal),))
        return _settle(judging, state, Verdict.ABSTAIN, refused)
    log.info("promoted", agent=candidate.agent, version=candidate.name, generation=generation)
    return True


def _give_up(judging: Judging, state: CandidateState, failures: Mapping[str, str]) -> bool:
    """Abstain: no question was asked, so there is no evidence against the candidate's events."""
    evidence = Evidence(reasons=("no replica could hold it",), failed=dict(failures))
    return _settle(judging, state, Verdict.ABSTAIN, evidence)


def _settle(judging: Judging, state: CandidateState, verdict: Verdict, evidence: Evidence) -> bool:
    """Record the verdict, unless the candidate was settled meanwhile."""
    candidate = state.candidate
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
        by=BY_GATE,
        evidence=evidence,
        through_seq=candidate.through_seq,
    )


def _read_states(judging: Judging) -> list[CandidateState]:
    with judging.database.read() as connection:
        return candidate_states(connection)


def _is_undecided(connection: Connection, candidate: Version) -> bool:
    return candidate in decisions.undecided(connection)
