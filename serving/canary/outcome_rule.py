"""What becomes of a canary that is judged by outcomes: more time, a larger share, promotion, or an end.

It is promoted only if its conversations end better than its champion's. One that is as good, or about which
too little is known when its time is over, is given up undecided. Pure decisions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ledger.events import Signal
from serving.alpha_spending import alpha_of
from serving.canary.outcome_counts import CountedOutcomes
from serving.canary.outcome_test import (
    Ended,
    OutcomeComparison,
    better_without_anybody,
    compare_outcomes,
)
from serving.canary.sequential_test import StepCounts
from serving.canary.steps import CanaryOptions, CanaryRuling, Move, rule

OUTCOME_SHARES = (0.05, 0.25, 0.5)
"""Shares of a canary that is judged by outcomes. Half of the traffic each tells most, so that is the last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeLook:
    """What is known of such a canary at one moment."""

    counted: CountedOutcomes
    signals: Mapping[Signal, Sequence[StepCounts]]  # of people and of gateways
    attempt: int  # k: candidates with a share since the agent got its champion, from 1
    share: float
    step_s: float  # seconds since it has this share
    total_s: float  # seconds since it got its first share
    conversations: int  # that it answered in this step


def rule_by_outcomes(look: OutcomeLook, options: CanaryOptions) -> CanaryRuling:
    """What to do with it now. Half of the chance to withdraw one that is no worse is for other signals."""
    halved = replace(options, alpha=options.alpha / 2, ignored=options.ignored | {Signal.OUTCOME})
    by_signals = rule(look.signals, age_s=look.step_s, conversations=look.conversations, options=halved)
    compared = compare_outcomes(look.counted.outcomes)
    alpha_k = alpha_of(look.attempt, options.outcomes.alpha)
    ruling = replace(by_signals, outcomes=compared, alpha_k=alpha_k)
    if by_signals.move is Move.WITHDRAW:
        return ruling
    if compared.worse >= 4.0 / options.alpha:
        worst = replace(ruling.result, worst=Signal.OUTCOME)
        reason = f"worse outcomes on live traffic: {numbers(compared)}"
        return replace(ruling, move=Move.WITHDRAW, reason=reason, result=worst)
    if is_better(compared, look.counted, alpha_k):
        return replace(
            ruling, move=Move.PROMOTE, reason=f"better outcomes on live traffic: {numbers(compared)}"
        )
    if limit := _limit(look, compared, options):
        reason = f"inconclusive outcomes after {limit}: {numbers(compared)}"
        return replace(ruling, move=Move.ABSTAIN, reason=reason)
    if by_signals.move is Move.ADVANCE and larger_share(look.share) > look.share:
        return ruling
    return replace(ruling, move=Move.WAIT, reason=_waits_for(look, compared, options))


def is_better(compared: OutcomeComparison, counted: CountedOutcomes, alpha_k: float) -> bool:
    """Whether the canary's outcomes are better, also if any one author had said nothing."""
    if compared.better < 1.0 / alpha_k:
        return False
    return better_without_anybody(counted.outcomes) >= 1.0 / alpha_k


def larger_share(share: float) -> float:
    """The share of the step after this one; the same where it is the last."""
    return next((larger for larger in OUTCOME_SHARES if larger > share), share)


def numbers(compared: OutcomeComparison) -> str:
    """Both means with their numbers of conversations, in words."""
    return f"mean {_words(compared.canary)}, {_words(compared.champion)} of the champion's"


def _words(ended: Ended) -> str:
    return f"{ended.mean:.2f} in {ended.conversations} conversations"


def _limit(look: OutcomeLook, compared: OutcomeComparison, options: CanaryOptions) -> str | None:
    limits = options.outcomes
    if compared.canary.conversations + compared.champion.conversations >= limits.conversations_max:
        return f"{limits.conversations_max} conversations"
    return f"{limits.s_max / 3600:.0f} h" if look.total_s >= limits.s_max else None


def _waits_for(look: OutcomeLook, compared: OutcomeComparison, options: CanaryOptions) -> str:
    """What the canary waits for, and why outcomes do not count, in words for people."""
    ended = compared.canary.conversations + compared.champion.conversations
    words = [f"outcomes: {ended} of at most {options.outcomes.conversations_max} conversations have one"]
    if look.counted.unattributed:
        words.append(f"{look.counted.unattributed} outcomes name no conversation")
    if look.counted.of_one_author:
        words.append(
            f"{look.counted.of_one_author} of one author do not count: give its key the right `judge`,"
            " or set `gate.authors_min = 1`"
        )
    return "; ".join(words)
