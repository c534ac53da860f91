"""What becomes of a canary next: it waits, gets a larger share, or is withdrawn. Pure decisions.

A canary passes a step by not being worse until its time is over, but never without a conversation of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ledger.events import Signal
from ledger.versions.live_counts import PromotedCounts
from serving.canary.after_promotion import compare_with_past, past_complaint
from serving.canary.outcome_test import OutcomeComparison
from serving.canary.sequential_test import Comparison, StepCounts, compare

ALPHA = 0.01
"""Chance of withdrawing a version that is no worse than its champion."""

SHARES = (0.05, 0.25, 1.0)
"""A canary's share of the conversations, step after step. The last step is the promotion."""


class Move(StrEnum):
    """What happens to a canary now."""

    WAIT = "wait"
    ADVANCE = "advance"
    WITHDRAW = "withdraw"
    PROMOTE = "promote"  # its outcomes are better
    ABSTAIN = "abstain"  # its outcomes did not show in time whether they are better


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeOptions:
    """What the operator decides about canaries that are judged by outcomes."""

    alpha: float  # chance of promoting one that is no better, over all tries since the last promotion
    authors_min: int  # from 2 on, nobody decides alone whose word needs somebody else's
    conversations_max: int  # with an outcome, of both versions; then it is given up undecided
    s_max: float  # seconds from its first share on, after which it is given up too


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryOptions:
    """What the operator decides about canaries."""

    share: float  # of the conversations, in the first step; 0: a version is promoted at once
    s_max: float  # seconds of one step
    alpha: float = ALPHA  # chance of withdrawing one that is no worse: half in its steps, half afterwards
    ignored: frozenset[Signal]  # signals that withdraw nothing
    outcomes: OutcomeOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRuling:
    """One look at a canary."""

    move: Move
    reason: str  # why it is withdrawn or advances, or what it waits for
    result: Comparison
    outcomes: OutcomeComparison | None = None  # None: it is not judged by outcomes
    alpha_k: float | None = None  # level at which its outcomes must be better


def rule(
    counts: Mapping[Signal, Sequence[StepCounts]],
    *,
    age_s: float,
    conversations: int,
    options: CanaryOptions,
) -> CanaryRuling:
    """What to do with a canary that has had its share for `age_s` seconds, and so many conversations."""
    result = compare(_watched(counts, options), alpha=options.alpha / 2)
    if result.is_worse:
        assert result.worst is not None
        return CanaryRuling(
            move=Move.WITHDRAW, reason=complaint(result.worst, counts[result.worst]), result=result
        )
    if age_s < options.s_max:
        left_s = options.s_max - age_s
        return CanaryRuling(move=Move.WAIT, reason=f"{left_s:.0f} s more of this step", result=result)
    if not conversations:
        return CanaryRuling(move=Move.WAIT, reason="its first conversation", result=result)
    reason = f"not worse in {conversations} conversations"
    return CanaryRuling(move=Move.ADVANCE, reason=reason, result=result)


def rule_promoted(counts: PromotedCounts, *, age_s: float, seed: str, options: CanaryOptions) -> CanaryRuling:
    """What to do with a version that was promoted so many seconds ago."""
    counted = replace(
        counts,
        after_shown=tuple(outcome for outcome in counts.after_shown if outcome[0] not in options.ignored),
    )
    result = compare_with_past(counted, seed=seed, alpha=options.alpha / 2)
    if result.is_worse:
        assert result.worst is not None
        return CanaryRuling(move=Move.WITHDRAW, reason=past_complaint(result.worst, counts), result=result)
    if age_s < options.s_max:
        reason = f"{options.s_max - age_s:.0f} s more of being watched"
        return CanaryRuling(move=Move.WAIT, reason=reason, result=result)
    return CanaryRuling(move=Move.ADVANCE, reason="not worse than its predecessor", result=result)


def _watched(
    counts: Mapping[Signal, Sequence[StepCounts]], options: CanaryOptions
) -> Mapping[Signal, Sequence[StepCounts]]:
    return {signal: steps for signal, steps in counts.items() if signal not in options.ignored}


def next_share(share: float) -> float:
    """The share of the step after this one; 1 is the promotion."""
    return next(larger for larger in (*SHARES, 1.0) if larger > share or larger == 1.0)


def complaint(signal: Signal, steps: Sequence[StepCounts]) -> str:
    """What was seen of the signal, in one line."""
    canary, champion = sum(step.canary for step in steps), sum(step.champion for step in steps)
    expected = sum(step.share * (step.canary + step.champion) for step in steps)
    return (
        f"worse on live traffic: {signal.value.replace('_', ' ')} in {canary} of its conversations"
        f" and {champion} of the champion's, where {expected:.1f} of these {canary + champion} were expected"
    )
