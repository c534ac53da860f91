"""Decides whether a champion does worse than its predecessor, at one of several looks. Pure functions.

Two tests, each at half of the level. On the no-harm suite: the champion is no worse if it loses at most the
share of the prompts that the gate forgives a candidate, wins subtracted; the number of losses is compared
with the binomial distribution of that share. On gate prompts: of those that the two answer differently the
champion loses half at most (the sign test). The k-th look has the level alpha / (k (k + 1)), as the gate's
k-th try has, so that all looks together withdraw a champion that is no worse with a chance of alpha at most
(the union bound; Bonferroni, Teoria statistica delle classi e calcolo delle probabilità, 1936).
"""

from math import ceil, comb

from ledger.versions.decisions import Verdict
from serving.alpha_spending import alpha_of
from serving.fleet.gate import (
    HARM_SHARE_MAX,
    GateEvidence,
    Ruling,
    counted_wins,
    harm_of,
    judgement_of,
    sign_of,
    sign_test,
)


def judge_again(evidence: GateEvidence, *, alpha: float) -> Ruling:
    """Roll the champion (after) back only if it is worse than its predecessor (before).

    `evidence.attempt` is the number of the look. Prompts without a score are not counted as lost, and no
    author has more of the losses than the gate allows one to have of the wins: one person withdraws nothing.
    """
    alpha_k = alpha_of(evidence.attempt, alpha)
    suite_losses = [pair for pair in evidence.suite if sign_of(pair) < 0]
    suite_wins = sum(sign_of(pair) > 0 for pair in evidence.suite)
    gate_losses = [pair for pair in evidence.gate if sign_of(pair) < 0]
    wins, losses = sum(sign_of(pair) > 0 for pair in evidence.gate), len(gate_losses)
    prompts = len(evidence.suite) + len(evidence.suite_unscored)
    harm = min(ceil(harm_of(evidence.suite, evidence.authors)), counted_wins(suite_losses, evidence.authors))
    p_gate = sign_test(counted_wins(gate_losses, evidence.authors), wins)
    p = min(1.0, 2.0 * min(binomial_tail(harm, prompts, HARM_SHARE_MAX), p_gate))
    is_worse = p <= alpha_k
    compared = (
        f"{len(suite_losses)} of {prompts} prompts of its suite are answered worse, {suite_wins} better;"
        f" of its gate prompts {losses} worse, {wins} better; p = {p:.4f}"
    )
    return Ruling(
        verdict=Verdict.ROLLBACK if is_worse else Verdict.KEEP,
        reasons=(f"{compared} {'≤' if is_worse else '>'} {alpha_k:.4f}",),
        judgement=judgement_of(evidence, alpha_k=alpha_k, p=p, wins=wins),
    )


def binomial_tail(successes: int, trials: int, chance: float) -> float:
    """The chance of so many successes or more."""
    return sum(
        comb(trials, number) * chance**number * (1.0 - chance) ** (trials - number)
        for number in range(successes, trials + 1)
    )
