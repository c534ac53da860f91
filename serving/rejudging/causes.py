"""Why a champion is judged again: its no-harm suite has grown, or the server or the template changed."""

from dataclasses import dataclass

from ledger.versions.evidence import Circumstances

LOOKS_MAX = 40
"""Looks at one champion: a suite that grows by a quarter each time is 7,500 times as large by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejudgingOptions:
    """What the operator decides about judging champions again."""

    growth: float  # share by which the suite must have grown
    alpha: float  # chance of withdrawing a champion that is no worse, over all looks


def causes(before: Circumstances, now: Circumstances, *, growth: float) -> list[str]:
    """What changed since the last judgement, in words for people. What was not known then has not changed."""
    changed = []
    if now.suite > before.suite and now.suite >= (1.0 + growth) * before.suite:
        changed.append(f"its no-harm suite grew from {before.suite} to {now.suite} prompts")
    if before.server and now.server and before.server != now.server:
        changed.append(f"the replicas run {now.server} instead of {before.server}")
    if before.template and now.template and before.template != now.template:
        changed.append("the replicas' chat template changed")
    return changed


TEMPLATE_ADVICE = (
    "it was trained for another chat template than the replicas use: start vLLM with the earlier template"
    " (--chat-template), or put the new one into engine.base, so that its next version learns it"
)
