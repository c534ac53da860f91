"""Lets a candidate pass without questions where no corrections judge it, and says how much the gate asks."""

from dataclasses import replace

from engine.measurements import Absent
from ledger.learning.candidate_states import CandidateState
from ledger.versions.decisions import Verdict
from ledger.versions.evidence import Evidence
from ledger.versions.gate_modes import GateMode
from serving.fleet.gate import GateLimits, budget_complaints, unmeasured_budgets
from serving.fleet.parity import Parity


def judge_unasked(
    state: CandidateState, kl_nats: float | Absent, limits: GateLimits, *, replica: str, parity: Parity
) -> tuple[Verdict, Evidence]:
    """What is known of a candidate before users meet it; a promotion means that it may be loaded everywhere.

    It must be loaded as it was trained and keep to the budget; live conversations judge the rest, or nobody.
    """
    if not parity.passed:
        verdict, reasons = Verdict.REFUSE, ["parity: the replica serves something else"]
    elif reasons := budget_complaints(kl_nats, limits):
        verdict = Verdict.REFUSE
    else:
        reasons = unmeasured_budgets(kl_nats, limits)
        verdict = Verdict.ABSTAIN if reasons else Verdict.PROMOTE
    if verdict is Verdict.PROMOTE and state.gate is GateMode.OFF:
        reasons = ["nobody judged it: the agent's gate is off"]
    return verdict, Evidence(
        reasons=tuple(reasons), replica=replica, parity=parity.numbers(), judged_by=state.gate.value
    )


def limits_before(share: float | None, limits: GateLimits, *, usual_share: float) -> GateLimits:
    """The gate's limits for a candidate. One with a canary needs no suite: live traffic shows its harm."""
    has_canary = (usual_share if share is None else share) > 0.0
    return replace(limits, suite_min=0) if has_canary else limits
