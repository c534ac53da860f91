"""Decides to promote, refuse or abstain, by evidence that other modules gather. Pure functions.

The gate refuses a candidate that does harm, gives broken answers, exceeds a budget or is not loaded as it was
trained. It promotes one that is better than the champion on prompts that neither was trained on. It abstains
where a budget cannot be checked, and where there are so few prompts that winning all would not be enough.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import comb

from engine.measurements import Absent
from ledger.versions.decisions import Verdict
from ledger.versions.evidence import Judgement, Pair
from serving.alpha_spending import alpha_of
from serving.fleet.parity import Parity
from serving.scoring.forms import Form

TIE = 0.02
"""Scores that differ by less count as equal: `similarity` changes a little with every other wording."""

PROSE_TIE = 0.05
"""The same for prose that is scored by nearness: one other word among twenty changes it by as much."""

AGREEMENT_MIN = 0.5
"""Share of the champion's samples that must say what it said, for another answer to be a loss."""

HARM_SHARE_MAX = 0.02
"""Share of the no-harm suite that a candidate may lose, wins subtracted. One loss is always forgiven."""

AUTHOR_SHARE_MAX = 2 / 3
"""Largest share of the wins that one author may have: of two people, one may have twice as many."""

BROKEN_SHARE_MAX = 0.1
"""How much larger than the champion's a share of repetitive, cut or unparsable answers may be."""

LENGTH_RATIO_MAX = 3.0
"""Largest length of all answers together, as a multiple of the wanted length; its inverse is the smallest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerStatistics:
    """Lengths and faults of the answers that one model generates; both models get the same prompts."""

    answers: int = 0
    characters: int = 0
    characters_wanted: int = 0
    repetitive: int = 0  # answers that repeat one thing over and over
    cut_short: int = 0  # answers that reached the limit of tokens
    unparsable: int = 0  # invalid JSON where JSON was wanted

    def share(self, count: int) -> float:
        """The count as a share of the answers."""
        return count / max(1, self.answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateEvidence:
    """Everything the gate decides by."""

    attempt: int  # k: tries since the last promotion, from 1; abstentions do not count
    gate: tuple[Pair, ...]  # on gate events
    suite: tuple[Pair, ...]  # on the no-harm suite
    gate_unscored: Mapping[str, str] = field(default_factory=dict)  # uid -> why the scorer gave no number
    suite_unscored: Mapping[str, str] = field(default_factory=dict)
    authors: Mapping[str, str] = field(default_factory=dict)  # by uid, of those who do not count alone
    before: AnswerStatistics
    after: AnswerStatistics
    parity: Parity
    kl_nats: float | Absent  # of the training, from the manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """What the operator decides about the gate."""

    alpha: float  # chance of promoting a candidate that is no better, over all tries
    kl_nats_max: float | None  # budget for the metric `kl_nats`; None: not judged
    authors_min: int  # people who must stand behind a correction that judges
    suite_min: int  # prompts of the no-harm suite without which nothing is promoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What the gate decides, the reasons, and the numbers."""

    verdict: Verdict
    reasons: tuple[str, ...]  # empty for a promotion
    judgement: Judgement


def judge(evidence: GateEvidence, limits: GateLimits) -> Ruling:
    """Promote only a candidate that is better and does no harm; an empty suite does not show that.

    Where prompts have no score, the verdict must be the same if all of them were lost and if all were won.
    Otherwise the gate abstains: a scorer that fails on bad answers must not make a candidate look good.
    """
    ruling = _rule(evidence, limits)
    missing = [*evidence.gate_unscored.values(), *evidence.suite_unscored.values()]
    if not missing:
        return ruling
    extremes = (_rule(_filled(evidence, score), limits).verdict for score in (0.0, 1.0))
    if ruling.verdict is not Verdict.ABSTAIN and all(verdict is ruling.verdict for verdict in extremes):
        return ruling
    asked = len(missing) + len(evidence.gate) + len(evidence.suite)
    why, _ = Counter(missing).most_common(1)[0]
    reason = f"scorer: {len(missing)} of {asked} prompts have no score: {why}"
    others = ruling.reasons if ruling.verdict is Verdict.ABSTAIN else ()
    return replace(ruling, verdict=Verdict.ABSTAIN, reasons=(reason, *others))


def _filled(evidence: GateEvidence, after: float) -> GateEvidence:
    """The evidence, with this score of the candidate where there is none; the champion has the other."""

    def filled(pairs: tuple[Pair, ...], missing: Mapping[str, str]) -> tuple[Pair, ...]:
        return (*pairs, *(Pair(event=uid, before=1.0 - after, after=after) for uid in missing))

    return replace(
        evidence,
        gate=filled(evidence.gate, evidence.gate_unscored),
        suite=filled(evidence.suite, evidence.suite_unscored),
    )


def _rule(evidence: GateEvidence, limits: GateLimits) -> Ruling:
    all_wins, losses = _count(evidence.gate)
    alpha_k = alpha_of(evidence.attempt, limits.alpha)
    wins = counted_wins([pair for pair in evidence.gate if sign_of(pair) > 0], evidence.authors)
    p = sign_test(wins, losses)
    missed = sum(was_missed(pair) for pair in evidence.gate)
    reasons = [
        *_harm(evidence.suite, evidence.authors),
        *_broken(evidence.before, evidence.after),
        *budget_complaints(evidence.kl_nats, limits),
        *([] if evidence.parity.passed else ["parity: the replica serves something else"]),
    ]
    if reasons:
        verdict = Verdict.REFUSE
    elif reasons := unmeasured_budgets(evidence.kl_nats, limits):
        verdict = Verdict.ABSTAIN
    elif 0.5 ** (winnable := all_wins + losses + missed) > alpha_k:
        verdict = Verdict.ABSTAIN
        reasons = [
            f"too little evidence: {winnable} prompts could be won, {wins_needed(alpha_k)} would have to"
        ]
    elif sign_test(all_wins, losses) <= alpha_k < p:
        verdict = Verdict.ABSTAIN
        reasons = [
            f"one person has most of {all_wins} wins: {wins} count, the rest waits for a second person"
        ]
    elif p > alpha_k:
        verdict = Verdict.REFUSE
        reasons = [
            f"not better: {wins} wins, {losses} losses, {missed} wrong as before, p = {p:.4f} > {alpha_k:.4f}"
        ]
    elif (shown := len(evidence.suite)) < limits.suite_min:
        verdict = Verdict.ABSTAIN
        reasons = [f"no suite: {shown} prompts show that nothing else changed, {limits.suite_min} have to"]
    else:
        verdict = Verdict.PROMOTE
    judgement = judgement_of(evidence, alpha_k=alpha_k, p=p, wins=wins)
    return Ruling(verdict=verdict, reasons=tuple(reasons), judgement=judgement)


def judgement_of(evidence: GateEvidence, *, alpha_k: float, p: float, wins: int) -> Judgement:
    """The numbers of a ruling; `wins` are those that count."""
    losses = _count(evidence.gate)[1]
    suite_wins, suite_losses = _count(evidence.suite)
    return Judgement(
        alpha_k=alpha_k,
        p=p,
        wins=wins,
        losses=losses,
        ties=len(evidence.gate) - wins - losses,
        suite_wins=suite_wins,
        suite_losses=suite_losses,
        suite=len(evidence.suite),
    )


def sign_of(pair: Pair) -> int:
    """+1 a win of the candidate, -1 a loss, 0 a tie.

    A difference that the second answers lack is a tie. So is a loss on a prompt to which the champion itself
    gives other answers when it is sampled.
    """
    tie = PROSE_TIE if pair.by == Form.PROSE else TIE
    sign = _sign(pair.before, pair.after, tie)
    if sign < 0 and pair.agreement is not None and pair.agreement < AGREEMENT_MIN:
        return 0
    return sign if pair.again is None or sign == _sign(*pair.again, tie) else 0


def was_missed(pair: Pair) -> bool:
    """Whether the candidate could have won and did not: neither answered as wanted, neither better."""
    return sign_of(pair) == 0 and pair.before < 1.0 - TIE


def sign_test(wins: int, losses: int) -> float:
    """p of the one-sided sign test (Dixon and Mood, 1946), which leaves ties out.

    It is the chance of so many wins or more if a win and a loss are equally likely.
    """
    n = wins + losses
    return float(sum(comb(n, k) for k in range(wins, n + 1)) / 2**n)


def wins_needed(alpha_k: float, losses: int = 0) -> int:
    """The fewest wins that are enough beside these losses."""
    wins = 0
    while sign_test(wins, losses) > alpha_k:
        wins += 1
    return wins


def _sign(before: float, after: float, tie: float) -> int:
    return 0 if abs(after - before) < tie else 1 if after > before else -1


def _count(pairs: Sequence[Pair]) -> tuple[int, int]:
    signs = [sign_of(pair) for pair in pairs]
    return signs.count(1), signs.count(-1)


def counted_wins(wins: Sequence[Pair], authors: Mapping[str, str]) -> int:
    """How many of these wins (or losses) count: no author has more than `AUTHOR_SHARE_MAX` of them."""
    by_author = Counter(authors.get(pair.event) for pair in wins)
    alone = by_author.pop(None, 0)
    for counted in range(len(wins), 0, -1):
        wins_max = int(AUTHOR_SHARE_MAX * counted)
        if alone + sum(min(of_one, wins_max) for of_one in by_author.values()) >= counted:
            return counted
    return 0


def harm_of(suite: Sequence[Pair], authors: Mapping[str, str]) -> float:
    """How many prompts became worse. One author's better answers do not offset another's worse.

    If at least two others have together as many of the prompts, what one author finds worse is not enough.
    """
    forgiven = _forgiven(suite)
    by_author: dict[str | None, list[Pair]] = defaultdict(list)
    for pair in suite:
        by_author[authors.get(pair.event)].append(pair)
    harm = 0.0
    for author, pairs in by_author.items():
        wins, losses = _count(pairs)
        worse = float(max(0, losses - wins))
        is_one_of_many = author is not None and len(by_author) > 2 and 2 * len(pairs) <= len(suite)
        harm += min(worse, forgiven) if is_one_of_many else worse
    return harm


def _forgiven(suite: Sequence[Pair]) -> float:
    return max(1.0, HARM_SHARE_MAX * len(suite))


def _harm(suite: Sequence[Pair], authors: Mapping[str, str]) -> list[str]:
    """Whether more became worse than is forgiven."""
    if harm_of(suite, authors) <= _forgiven(suite):
        return []
    wins, losses = _count(suite)
    return [f"harm: {losses} of {len(suite)} prompts became worse, {wins} better"]


def _broken(before: AnswerStatistics, after: AnswerStatistics) -> list[str]:
    complaints = []
    for fault in ("repetitive", "cut_short", "unparsable"):
        share_before, share_after = before.share(getattr(before, fault)), after.share(getattr(after, fault))
        if share_after > share_before + BROKEN_SHARE_MAX:
            complaints.append(f"{fault}: {share_after:.0%} of the answers, {share_before:.0%} before")
    if after.characters_wanted:
        ratio = after.characters / after.characters_wanted
        if not 1 / LENGTH_RATIO_MAX <= ratio <= LENGTH_RATIO_MAX:
            complaints.append(f"length: {ratio:.2f} of what was wanted")
    return complaints


def budget_complaints(kl_nats: float | Absent, limits: GateLimits) -> list[str]:
    """The budgets that the candidate exceeds."""
    if limits.kl_nats_max is None or isinstance(kl_nats, Absent) or kl_nats <= limits.kl_nats_max:
        return []
    return [f"kl: {kl_nats:.3f} nats from the champion, budget {limits.kl_nats_max:.3f}"]


def unmeasured_budgets(kl_nats: float | Absent, limits: GateLimits) -> list[str]:
    """Why a budget cannot be checked: the gate then abstains."""
    if limits.kl_nats_max is None or not isinstance(kl_nats, Absent):
        return []
    return [f"kl: not measured, budget {limits.kl_nats_max:.3f} nats: {kl_nats.reason}"]
