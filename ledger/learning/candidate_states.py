"""Reads how far each candidate is: what replicas are to load it for, and what the gate has decided so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ledger.database import Connection, now_s
from ledger.learning.agents import Agent, all_agents
from ledger.learning.backlog import refusals_of
from ledger.versions import decisions, desired, lineage
from ledger.versions.decisions import BY_GATE, BY_OUTCOMES, Decision, Verdict
from ledger.versions.desired import Purpose, Wanted
from ledger.versions.evidence import Evidence
from ledger.versions.gate_modes import GateMode
from ledger.versions.lineage import BASE, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateState:
    """What the ledger knows about one candidate."""

    candidate: Version
    champion: Version | None  # the last version that somebody judged; None: the base
    wanted: Mapping[Purpose, Wanted]
    canary: Decision | None  # the decision to load it everywhere, of the gate or of who brings it back
    refusals: int  # since the last promotion
    scorer: str
    canary_share: float | None  # of its agent; None: the installation's
    waited_s: float  # since it was wanted for its present purpose
    gate: GateMode  # of its agent
    confirmed: Decision | None  # by its outcomes; None: they have not been found better

    @property
    def has_passed(self) -> bool:
        """Whether the gate let it pass, or a person brings it back."""
        return self.canary is not None

    def evidence_for(self, by: str) -> Evidence:
        """What a promotion is based on: the gate's evidence, and its outcomes if those let it serve."""
        assert self.canary is not None, "nothing is promoted before it passed the gate"
        if by != BY_OUTCOMES or self.confirmed is None:
            return self.canary.evidence
        live = self.confirmed.evidence
        return replace(self.canary.evidence, reasons=live.reasons, live=live.live, attempt=live.attempt)


def candidate_states(connection: Connection) -> list[CandidateState]:
    """The state of every candidate without a verdict."""
    candidates = decisions.undecided(connection)
    if not candidates:
        return []
    all_wanted, agents = desired.wanted(connection), all_agents(connection)
    return [_state(connection, candidate, all_wanted, agents[candidate.agent]) for candidate in candidates]


def _state(
    connection: Connection, candidate: Version, all_wanted: Sequence[Wanted], agent: Agent
) -> CandidateState:
    wanted = {
        row.purpose: row
        for row in all_wanted
        if row.agent == candidate.agent and row.number == candidate.number
    }
    decided = decisions.decisions_of(connection, candidate.agent, candidate.number)
    canaries = [
        decision
        for decision in decided
        if decision.verdict is Verdict.REINSTATE
        or (decision.verdict is Verdict.CANARY and decision.by == BY_GATE)
    ]
    judged = decisions.judged_version(connection, candidate.agent, candidate.parent)
    champion = None if judged == BASE else lineage.version(connection, candidate.agent, judged)
    since_s = max((row.since_s for row in wanted.values()), default=0.0)
    return CandidateState(
        candidate=candidate,
        champion=champion,
        wanted=wanted,
        canary=canaries[-1] if canaries and Purpose.CANARY in wanted else None,
        refusals=refusals_of(connection, candidate.agent),
        scorer=agent.scorer,
        canary_share=agent.canary_share,
        waited_s=now_s(connection) - since_s if wanted else 0.0,
        gate=agent.gate,
        confirmed=next(
            (
                decision
                for decision in decided
                if decision.verdict is Verdict.CONFIRM and decision.by == BY_OUTCOMES
            ),
            None,
        ),
    )
