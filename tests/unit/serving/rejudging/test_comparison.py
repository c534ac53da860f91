"""How many worse answers roll a champion back, and how many do not."""

import random
from math import comb

import pytest

from engine.measurements import Absent
from ledger.versions.decisions import Verdict
from ledger.versions.evidence import Pair
from serving.fleet.gate import HARM_SHARE_MAX, AnswerStatistics, GateEvidence
from serving.fleet.parity import Parity
from serving.rejudging.comparison import binomial_tail, judge_again

ALPHA = 0.01
PARITY = Parity(probes=1, tokens=1, distance_nats=1.0, difference_nats=0.0, base_difference_nats=0.0)


def build_pairs(name: str, *, same: int = 0, worse: int = 0, better: int = 0) -> tuple[Pair, ...]:
    scores = [(1.0, 1.0)] * same + [(1.0, 0.0)] * worse + [(0.0, 1.0)] * better
    return tuple(
        Pair(event=f"{name}#{place}", before=before, after=after)
        for place, (before, after) in enumerate(scores)
    )


def build_look(look: int = 1, **given: object) -> GateEvidence:
    fields = {"gate": (), "suite": (), "before": AnswerStatistics(), "after": AnswerStatistics()}
    return GateEvidence(
        **{**fields, "attempt": look, "parity": PARITY, "kl_nats": Absent("not asked"), **given}
    )


def verdict_on(look: int = 1, **given: object) -> Verdict:
    return judge_again(build_look(look, **given), alpha=ALPHA).verdict


def test_a_champion_that_answers_as_before_stays() -> None:
    assert verdict_on(suite=build_pairs("suite", same=60), gate=build_pairs("gate", better=8)) is Verdict.KEEP


def test_a_champion_that_does_harm_on_the_grown_suite_is_rolled_back() -> None:
    suite = build_pairs("suite", same=50, worse=8)
    assert verdict_on(suite=suite, gate=build_pairs("gate", better=8)) is Verdict.ROLLBACK


def test_a_champion_that_loses_gate_prompts_is_rolled_back() -> None:
    assert verdict_on(gate=build_pairs("gate", worse=12, better=1)) is Verdict.ROLLBACK
    assert verdict_on(gate=build_pairs("gate", worse=5, better=1)) is Verdict.KEEP


def test_few_prompts_decide_nothing() -> None:
    assert verdict_on(suite=build_pairs("suite", same=40, worse=2)) is Verdict.KEEP
    assert verdict_on(suite=build_pairs("suite", worse=1)) is Verdict.KEEP
    assert verdict_on() is Verdict.KEEP


def test_better_answers_of_the_suite_offset_worse_ones() -> None:
    assert verdict_on(suite=build_pairs("suite", same=40, worse=6, better=5)) is Verdict.KEEP


def test_a_later_look_asks_for_more() -> None:
    suite = build_pairs("suite", same=44, worse=6)
    assert [verdict_on(look, suite=suite) for look in (1, 12)] == [Verdict.ROLLBACK, Verdict.KEEP]


def test_one_author_rolls_nothing_back() -> None:
    suite = build_pairs("suite", same=30, worse=12)
    of_one = {pair.event: "mallory" for pair in suite}
    of_two = {pair.event: ("ann", "ben")[place % 2] for place, pair in enumerate(suite)}
    assert verdict_on(suite=suite, authors=of_one) is Verdict.KEEP
    assert verdict_on(suite=suite, authors=of_two) is Verdict.ROLLBACK


def test_prompts_without_a_score_count_for_the_champion() -> None:
    suite = build_pairs("suite", same=3, worse=4)
    unscored = {f"none#{place}": "the scorer was away" for place in range(120)}
    assert verdict_on(suite=suite) is Verdict.ROLLBACK
    assert verdict_on(suite=suite, suite_unscored=unscored) is Verdict.KEEP


def test_the_reason_names_prompts_and_level() -> None:
    ruling = judge_again(build_look(suite=build_pairs("suite", same=50, worse=8)), alpha=ALPHA)
    assert ruling.reasons == (
        "8 of 58 prompts of its suite are answered worse, 0 better; of its gate prompts 0 worse, 0 better;"
        " p = 0.0000 ≤ 0.0050",
    )


@pytest.mark.parametrize(("trials", "chance"), [(7, 0.3), (40, HARM_SHARE_MAX)])
def test_the_tail_is_that_of_the_binomial_distribution(trials: int, chance: float) -> None:
    masses = [comb(trials, n) * chance**n * (1 - chance) ** (trials - n) for n in range(trials + 1)]
    for successes in range(trials + 1):
        assert binomial_tail(successes, trials, chance) == pytest.approx(sum(masses[successes:]))
    assert binomial_tail(0, trials, chance) == pytest.approx(1.0)


def test_over_all_looks_a_champion_that_is_no_worse_is_rolled_back_as_rarely_as_alpha_says() -> None:
    """A suite that grows by a quarter from look to look; the champion loses what the gate forgives."""
    chance, champions, withdrawn = random.Random(5), 300, 0
    for _ in range(champions):
        suite: list[Pair] = []
        gate: list[Pair] = []
        for look in range(1, 11):
            for _ in range(max(4, len(suite) // 4) if suite else 16):
                lost = chance.random() < HARM_SHARE_MAX
                suite.append(Pair(event=f"s#{len(suite)}", before=1.0, after=0.0 if lost else 1.0))
                won = chance.random() < 0.5
                gate.append(Pair(event=f"g#{len(gate)}", before=float(not won), after=float(won)))
            evidence = build_look(look, suite=tuple(suite[-128:]), gate=tuple(gate[-128:]))
            if judge_again(evidence, alpha=ALPHA).verdict is Verdict.ROLLBACK:
                withdrawn += 1
                break
    assert withdrawn / champions <= ALPHA
