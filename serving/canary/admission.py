"""Decides whether a candidate that passed the gate and is loaded everywhere may serve all users yet.

It waits for a person where its agent is on hold or must be confirmed, and for its canary where one has a
share.
"""

from dataclasses import dataclass

import structlog

from ledger.database import Connection, Database
from ledger.errors import FlipRefused
from ledger.learning.agents import all_agents
from ledger.versions import canary, decisions
from ledger.versions.decisions import BY_CANARY, BY_GATE, Verdict
from ledger.versions.evidence import Evidence
from ledger.versions.holds import hold_of
from ledger.versions.lineage import Version
from ledger.versions.promotion import give_share
from serving.canary.steps import CanaryOptions

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What comes next for a candidate. One of the three is given."""

    by: str | None = None  # it may be promoted; "gate", or the name of the person who confirmed it
    share: float | None = None  # its canary may begin, with this share
    waits_for: str | None = None


def admit(database: Database, candidate: Version, options: CanaryOptions) -> str | None:
    """By whom the candidate may be promoted now; None while it waits. Begins its canary where it has one."""
    with database.read() as connection:
        admission = admission_of(connection, candidate, options)
    if admission.share is not None:
        begin_canary(database, candidate, admission.share, options)
    return admission.by


def admission_of(connection: Connection, candidate: Version, options: CanaryOptions) -> Admission:
    """What comes next for a candidate that every replica holds."""
    if (person := confirmed_by(connection, candidate)) is not None:
        return Admission(by=person)
    if (hold := hold_of(connection, candidate.agent)) is not None:
        return Admission(waits_for=f"{hold.by}, who put the agent on hold: clorad resume {candidate.agent}")
    agent = all_agents(connection)[candidate.agent]
    if agent.confirm:
        name = f"{candidate.agent}@v{candidate.number}"
        return Admission(waits_for=f"a person: clorad promote {name} or clorad refuse {name}")
    steps = canary.steps_of(connection, candidate.agent, candidate.number)
    if any(step.is_open for step in steps):
        return Admission(waits_for="its canary")
    share = options.share if agent.canary_share is None else agent.canary_share
    if share and not steps:
        return Admission(share=share)
    return Admission(by=BY_GATE)


def confirmed_by(connection: Connection, candidate: Version) -> str | None:
    """The person who let the candidate serve; None where nobody did."""
    decided = decisions.decisions_of(connection, candidate.agent, candidate.number)
    return next((decision.by for decision in decided if decision.verdict is Verdict.CONFIRM), None)


def begin_canary(database: Database, candidate: Version, share: float, options: CanaryOptions) -> None:
    """The candidate answers that share of the conversations, unless it was settled meanwhile."""
    reason = f"answers {share:.0%} of the conversations, for {options.s_max:.0f} s at most"
    try:
        give_share(database, candidate, share, by=BY_CANARY, evidence=Evidence(reasons=(reason,)))
    except FlipRefused as refusal:
        log.info("canary not begun", agent=candidate.agent, version=candidate.name, reason=str(refusal))
    else:
        log.info("canary has a share", agent=candidate.agent, version=candidate.name, share=share)
