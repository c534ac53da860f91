"""The gate's verdicts: when it promotes, refuses and abstains."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from engine.measurements import Absent
from ledger.versions.decisions import Verdict
from ledger.versions.evidence import Pair
from serving.alpha_spending import alpha_of
from serving.fleet.gate import AnswerStatistics, GateEvidence, Ruling, judge, sign_of, sign_test, wins_needed
from serving.fleet.parity import Parity
from tests.unit.serving.fleet.options_builder import build_limits

GOOD_PARITY = Parity(probes=4, tokens=40, distance_nats=0.8, difference_nats=2e-5, base_difference_nats=1e-5)
SANE = AnswerStatistics(answers=60, characters=1200, characters_wanted=1100)


def pairs(wins: int, losses: int = 0, ties: int = 0) -> tuple[Pair, ...]:
    scores = [(0.0, 1.0)] * wins + [(1.0, 0.0)] * losses + [(1.0, 1.0)] * ties
    return tuple(
        Pair(event=f"dev#{n}", before=before, after=after) for n, (before, after) in enumerate(scores)
    )


def ruling_on(gathered: GateEvidence, **limits: float) -> Ruling:
    return judge(gathered, build_limits(**limits))


def evidence(**changes) -> GateEvidence:
    plain = GateEvidence(
        attempt=1,
        gate=pairs(8, 0, 2),
        suite=pairs(0, 0, 48),
        before=SANE,
        after=SANE,
        parity=GOOD_PARITY,
        kl_nats=0.01,
    )
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("attempt", "losses", "wins", "of"),
    [(1, 0, 6, 6), (2, 0, 7, 7), (3, 0, 8, 8), (1, 1, 8, 9), (2, 1, 10, 11), (3, 1, 11, 12)],
)
def test_wins_needed_are_those_of_the_table(attempt, losses, wins, of):
    assert wins_needed(alpha_of(attempt, 0.05), losses) == wins
    assert wins + losses == of
    enough = ruling_on(evidence(attempt=attempt, gate=pairs(wins, losses)))
    assert enough.verdict is Verdict.PROMOTE
    assert ruling_on(evidence(attempt=attempt, gate=pairs(wins - 1, losses))).verdict is not Verdict.PROMOTE


@pytest.mark.parametrize(("agreement", "sign"), [(None, -1), (1.0, -1), (0.5, -1), (0.375, 0), (0.0, 0)])
def test_a_loss_counts_only_where_half_of_the_champion_s_samples_agree(agreement, sign):
    assert sign_of(Pair(event="dev#1", before=1.0, after=0.0, again=(1.0, 0.0), agreement=agreement)) == sign
    assert sign_of(Pair(event="dev#1", before=0.0, after=1.0, agreement=agreement)) == 1


def test_a_better_candidate_that_harms_nothing_is_promoted():
    ruling = ruling_on(evidence())
    assert ruling.verdict is Verdict.PROMOTE
    assert ruling.reasons == ()
    assert (ruling.judgement.wins, ruling.judgement.losses, ruling.judgement.ties) == (8, 0, 2)


def test_too_few_prompts_that_could_be_won_are_an_abstention():
    ruling = ruling_on(evidence(gate=pairs(5, 0, 20)))  # what both answer as wanted cannot be won
    assert ruling.verdict is Verdict.ABSTAIN
    assert "5 prompts could be won, 6 would have to" in ruling.reasons[0]


def test_enough_prompts_that_stay_wrong_are_a_refusal():
    wrong = tuple(Pair(event=f"a#{n}", before=0.0, after=0.0) for n in range(6))
    ruling = ruling_on(evidence(gate=wrong))
    assert ruling.verdict is Verdict.REFUSE
    assert ruling.reasons[0].startswith("not better: 0 wins, 0 losses, 6 wrong as before")
    assert ruling_on(evidence(gate=wrong[1:])).verdict is Verdict.ABSTAIN


def test_no_evidence_at_all_is_an_abstention():
    assert ruling_on(evidence(gate=())).verdict is Verdict.ABSTAIN


def test_enough_prompts_that_do_not_show_an_improvement_are_a_refusal():
    assert ruling_on(evidence(gate=pairs(6, 5))).verdict is Verdict.REFUSE
    assert ruling_on(evidence(gate=pairs(0, 12))).verdict is Verdict.REFUSE


def test_a_later_try_needs_more_wins():
    assert ruling_on(evidence(attempt=1, gate=pairs(6))).verdict is Verdict.PROMOTE
    assert ruling_on(evidence(attempt=2, gate=pairs(6))).verdict is Verdict.ABSTAIN
    assert sum(alpha_of(k, 0.05) for k in range(1, 10_000)) < 0.05


@pytest.mark.parametrize(
    ("losses", "wins", "of", "verdict"),
    [
        (1, 0, 48, Verdict.PROMOTE),
        (2, 0, 48, Verdict.REFUSE),
        (2, 1, 48, Verdict.PROMOTE),
        (4, 1, 48, Verdict.REFUSE),
        (2, 0, 128, Verdict.PROMOTE),
        (3, 0, 128, Verdict.REFUSE),
        (1, 0, 1, Verdict.PROMOTE),
        (0, 0, 0, Verdict.PROMOTE),
    ],
)
def test_net_losses_on_the_suite_are_forgiven_once_or_up_to_two_percent(losses, wins, of, verdict):
    assert ruling_on(evidence(suite=pairs(wins, losses, of - wins - losses))).verdict is verdict


def test_harm_refuses_even_where_evidence_is_short():
    assert ruling_on(evidence(gate=(), suite=pairs(0, 5, 20))).verdict is Verdict.REFUSE


def test_a_difference_that_is_not_repeated_is_a_tie():
    steady = [Pair(event=f"a#{n}", before=1.0, after=0.0, again=(1.0, 0.0)) for n in range(2)]
    shaky = [Pair(event=f"b#{n}", before=1.0, after=0.0, again=(1.0, 1.0)) for n in range(9)]
    assert ruling_on(evidence(suite=tuple(shaky + steady[:1]))).verdict is Verdict.PROMOTE
    assert ruling_on(evidence(suite=tuple(shaky + steady))).verdict is Verdict.REFUSE


@pytest.mark.parametrize(
    ("after", "complaint"),
    [
        (replace(SANE, repetitive=12), "repetitive"),
        (replace(SANE, cut_short=12), "cut_short"),
        (replace(SANE, unparsable=12), "unparsable"),
        (replace(SANE, characters=12), "length"),
        (replace(SANE, characters=9000), "length"),
    ],
)
def test_broken_answers_are_refused_however_good_the_scores(after, complaint):
    ruling = ruling_on(evidence(after=after))
    assert ruling.verdict is Verdict.REFUSE
    assert ruling.reasons[0].startswith(complaint)


def test_a_fault_that_the_champion_has_as_often_is_not_a_reason_to_refuse():
    cut = replace(SANE, cut_short=30)
    assert ruling_on(evidence(before=cut, after=cut)).verdict is Verdict.PROMOTE


def test_a_wrong_load_is_refused():
    wrong = replace(GOOD_PARITY, difference_nats=0.3)
    assert ruling_on(evidence(parity=wrong)).reasons[0].startswith("parity")


def test_the_budget_counts_only_where_there_is_one():
    far = evidence(kl_nats=0.9)
    assert ruling_on(far).verdict is Verdict.PROMOTE
    assert ruling_on(far, kl_nats_max=0.5).reasons[0].startswith("kl")
    assert ruling_on(far, kl_nats_max=1.0).verdict is Verdict.PROMOTE


def test_a_budget_that_cannot_be_checked_is_an_abstention() -> None:
    unmeasured = evidence(kl_nats=Absent("the lesson had no anchors"))
    ruling = ruling_on(unmeasured, kl_nats_max=0.5)
    assert ruling.verdict is Verdict.ABSTAIN
    assert ruling.reasons == ("kl: not measured, budget 0.500 nats: the lesson had no anchors",)
    assert ruling_on(unmeasured).verdict is Verdict.PROMOTE
    harmful = replace(unmeasured, suite=pairs(0, 5, 43))
    assert ruling_on(harmful, kl_nats_max=0.5).verdict is Verdict.REFUSE


@given(wins=some.integers(0, 60), losses=some.integers(0, 60))
def test_the_sign_test_is_a_probability_that_falls_with_every_win(wins, losses):
    p = sign_test(wins, losses)
    assert 0.0 < p <= 1.0
    one_more = sign_test(wins + 1, losses)
    assert one_more < p or one_more == p == 1.0  # nearer to 1 than a float can be


@given(wins=some.integers(0, 40), losses=some.integers(0, 40), attempt=some.integers(1, 6))
def test_a_candidate_is_promoted_where_the_sign_test_is_below_alpha(wins, losses, attempt):
    ruling = ruling_on(evidence(attempt=attempt, gate=pairs(wins, losses)))
    assert (ruling.verdict is Verdict.PROMOTE) == (sign_test(wins, losses) <= alpha_of(attempt, 0.05))


def by_author(
    *authors: str, score: tuple[float, float] = (0.0, 1.0)
) -> tuple[tuple[Pair, ...], dict[str, str]]:
    """One pair of scores for each of the authors, and who they are."""
    uids = {f"{author}#{score[1]}-{n}": author for n, author in enumerate(authors)}
    return tuple(Pair(event=uid, before=score[0], after=score[1]) for uid in uids), uids


@pytest.mark.parametrize(
    ("authors", "counted", "verdict"),
    [
        ("a" * 4 + "b" * 2, 6, Verdict.PROMOTE),
        ("a" * 5 + "b" * 5, 10, Verdict.PROMOTE),
        ("a" * 20 + "b" * 2, 6, Verdict.PROMOTE),
        ("a" * 20 + "b", 3, Verdict.ABSTAIN),
        ("a" * 20, 0, Verdict.ABSTAIN),
    ],
)
def test_no_author_has_more_than_two_thirds_of_the_wins(authors: str, counted: int, verdict: Verdict) -> None:
    gate, known = by_author(*authors)
    ruling = ruling_on(evidence(gate=gate, authors=known))
    assert (ruling.judgement.wins, ruling.verdict) == (counted, verdict)
    if verdict is Verdict.ABSTAIN:
        assert "second person" in ruling.reasons[0]


def test_wins_of_those_who_count_alone_are_not_capped() -> None:
    gate, _ = by_author(*"a" * 8)
    assert ruling_on(evidence(gate=gate, authors={})).verdict is Verdict.PROMOTE


@pytest.mark.parametrize(
    ("worse", "verdict"),
    [("mm", Verdict.PROMOTE), ("mmmmmm", Verdict.PROMOTE), ("ma", Verdict.REFUSE), ("ab", Verdict.REFUSE)],
)
def test_where_several_people_approve_one_of_them_cannot_veto_alone(worse: str, verdict: Verdict) -> None:
    gate, authors = by_author(*"ab" * 5)
    same, approvers = by_author(*"abcd" * 10, score=(1.0, 1.0))
    harmed, harming = by_author(*worse, score=(1.0, 0.0))
    gathered = evidence(gate=gate, suite=(*same, *harmed), authors=authors | approvers | harming)
    assert ruling_on(gathered).verdict is verdict


@pytest.mark.parametrize("others", ["", "m" * 60, "b" * 3])
def test_where_one_of_two_people_finds_it_worse_it_is_refused(others: str) -> None:
    gate, authors = by_author(*"ab" * 5)
    same, approvers = by_author(*others, score=(1.0, 1.0))
    harmed, harming = by_author(*"aaa", score=(1.0, 0.0))
    gathered = evidence(gate=gate, suite=(*same, *harmed), authors=authors | approvers | harming)
    assert ruling_on(gathered).verdict is Verdict.REFUSE


def test_better_answers_of_one_author_do_not_make_up_for_worse_ones_of_others() -> None:
    gate, authors = by_author(*"ab" * 5)
    better, praised = by_author(*"m" * 20, score=(0.0, 1.0))
    harmed, harming = by_author(*"abcd" * 2, score=(1.0, 0.0))
    gathered = evidence(gate=gate, suite=(*better, *harmed), authors=authors | praised | harming)
    assert ruling_on(gathered).verdict is Verdict.REFUSE


def unscored(count: int, why: str = "silent for 30 s") -> dict[str, str]:
    return {f"none#{n}": why for n in range(count)}


@pytest.mark.parametrize(
    ("wins", "losses", "missing", "verdict"),
    [
        (12, 0, 1, Verdict.PROMOTE),  # 12 of 13 are enough even if it was lost
        (6, 0, 1, Verdict.ABSTAIN),  # 6 of 7 would not be
        (0, 20, 2, Verdict.REFUSE),  # 2 of 22 would not be enough
        (10, 4, 3, Verdict.ABSTAIN),  # 13 of 17 would be enough
        (0, 0, 12, Verdict.ABSTAIN),
    ],
)
def test_prompts_without_a_score_never_count_as_wins(
    wins: int, losses: int, missing: int, verdict: Verdict
) -> None:
    ruling = ruling_on(evidence(gate=pairs(wins, losses), gate_unscored=unscored(missing)))
    assert ruling.verdict is verdict
    told = f"scorer: {missing} of {wins + losses + missing + 48} prompts have no score: silent for 30 s"
    assert (ruling.reasons[:1] == (told,)) == (verdict is Verdict.ABSTAIN)


def test_prompts_of_the_suite_without_a_score_may_be_harm() -> None:
    assert ruling_on(evidence(suite_unscored=unscored(1))).verdict is Verdict.PROMOTE
    assert ruling_on(evidence(suite_unscored=unscored(3))).verdict is Verdict.ABSTAIN
    harmful = evidence(suite=pairs(0, 9, 40), suite_unscored=unscored(3))
    assert ruling_on(harmful).verdict is Verdict.REFUSE


@given(
    wins=some.integers(0, 20),
    losses=some.integers(0, 20),
    missing=some.integers(0, 12),
    lost=some.integers(0, 12),
)
def test_a_missing_score_changes_no_verdict_whatever_it_would_have_been(
    wins: int, losses: int, missing: int, lost: int
) -> None:
    lost = min(lost, missing)
    known = ruling_on(evidence(gate=pairs(wins + missing - lost, losses + lost))).verdict
    without = ruling_on(evidence(gate=pairs(wins, losses), gate_unscored=unscored(missing))).verdict
    assert without in (known, Verdict.ABSTAIN)


def test_without_a_suite_the_gate_abstains_however_much_was_won() -> None:
    limits = {"suite_min": 2}
    assert ruling_on(evidence(suite=pairs(0, 0, 2)), **limits).verdict is Verdict.PROMOTE
    for few in (pairs(0), pairs(0, 0, 1)):
        ruling = ruling_on(evidence(suite=few), **limits)
        assert ruling.verdict is Verdict.ABSTAIN
        assert ruling.reasons == (f"no suite: {len(few)} prompts show that nothing else changed, 2 have to",)
    assert ruling_on(evidence(suite=(), gate=pairs(4, 4)), **limits).verdict is Verdict.REFUSE
