"""Decides whether a candidate that passed the gate and is loaded everywhere may serve all users yet.

It waits for a person where its agent is on hold or must be confirmed, and for its canary where one has a
share. One that is judged by outcomes always has a share first, and serves only if its outcomes are better.
Where the gate is off, it waits for nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from ledger.database import Connection, Database
from ledger.errors import FlipRefused
from ledger.learning.agents import Agent, all_agents
from ledger.versions import canary, decisions
from ledger.versions.canary import CanaryStep
from ledger.versions.decisions import BY_CANARY, BY_GATE, BY_NOBODY, BY_OUTCOMES, GatePassage
from ledger.versions.evidence import Evidence
from ledger.versions.gate_modes import GateMode
from ledger.versions.holds import Hold, all_holds
from ledger.versions.lineage import Version
from ledger.versions.promotion import give_share
from serving.canary.outcome_rule import OUTCOME_SHARES
from serving.canary.steps import CanaryOptions

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What comes next for a candidate. One of the three is given."""

    by: str | None = None  # it may be promoted: "gate", "outcomes", or the person who confirmed it
    share: float | None = None  # its canary may begin, with this share
    waits_for: str | None = None


def admit(database: Database, candidate: Version, options: CanaryOptions) -> str | None:
    """By whom the candidate may be promoted now; None while it waits. Begins its canary where it has one."""
    with database.read() as connection:
        [admission] = admissions(connection, [candidate], options).values()
    if admission.share is not None:
        begin_canary(database, candidate, admission.share, options)
    return admission.by


def admissions(
    connection: Connection, candidates: Sequence[Version], options: CanaryOptions
) -> dict[str, Admission]:
    """By agent, what comes next for these candidates, which every replica holds."""
    names = [(candidate.agent, candidate.number) for candidate in candidates]
    passages, steps = decisions.passages(connection, candidates), canary.steps_by_version(connection, names)
    holds, agents = all_holds(connection), all_agents(connection)
    return {
        agent: _admission(
            agents[agent],
            number,
            passages[agent, number],
            hold=holds.get(agent),
            steps=steps.get((agent, number), ()),
            options=options,
        )
        for agent, number in names
    }


def _admission(
    agent: Agent,
    number: int,
    passage: GatePassage,
    *,
    hold: Hold | None,
    steps: Sequence[CanaryStep],
    options: CanaryOptions,
) -> Admission:
    """What comes next for one candidate."""
    if passage.person is not None:
        return Admission(by=passage.person)
    if hold is not None:
        return Admission(waits_for=f"{hold.by}, who put the agent on hold: clorad resume {agent.name}")
    if passage.judged_by == GateMode.OFF:
        return Admission(by=BY_NOBODY)
    by_outcomes, is_better = passage.judged_by == GateMode.OUTCOMES, passage.is_better
    if agent.confirm and (is_better or not by_outcomes):
        version = f"{agent.name}@v{number}"
        return Admission(waits_for=f"a person: clorad promote {version} or clorad refuse {version}")
    if is_better:
        return Admission(by=BY_OUTCOMES)
    if steps and (by_outcomes or any(step.is_open for step in steps)):
        return Admission(waits_for="its canary")
    share = options.share if agent.canary_share is None else agent.canary_share
    if by_outcomes:
        return Admission(share=share or OUTCOME_SHARES[0])
    if share and not steps:
        return Admission(share=share)
    return Admission(by=BY_GATE)


def begin_canary(database: Database, candidate: Version, share: float, options: CanaryOptions) -> None:
    """The candidate answers that share of the conversations, unless it was settled meanwhile."""
    reason = f"answers {share:.0%} of the conversations, for {options.s_max:.0f} s at most"
    try:
        give_share(database, candidate, share, by=BY_CANARY, evidence=Evidence(reasons=(reason,)))
    except FlipRefused as refusal:
        log.info("canary not begun", agent=candidate.agent, version=candidate.name, reason=str(refusal))
    else:
        log.info("canary has a share", agent=candidate.agent, version=candidate.name, share=share)
