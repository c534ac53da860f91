"""Steps are drawn fairly, repeatably, and every term of a step has its own mass."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.recipe import COEFFICIENTS, Recipe, Term, recipe_from
from engine.schedule import ENTERS, Drawn, Length, draw, steps_by_epochs
from engine.tokens import Tokens
from rewards.episode import Part, Weighted
from tests.unit.engine import tiny_base

TOKENS = Tokens(tiny_base.build_tokenizer(), vocabulary=288)
RECIPE = recipe_from({"coefficients": {"preference": 1.0, "kl": 0.5}})


def samples(new: int, replay: int, anchors: int, **more: object) -> list:
    counts = {Part.NEW: new, Part.REPLAY: replay, Part.ANCHOR: anchors}
    return [
        TOKENS.sample(tiny_base.build_episode(f"{part}{n}", "yes", part=part, **more), tokens_max=512)
        for part, count in counts.items()
        for n in range(count)
    ]


def share(drawn: Drawn, term: Term) -> float:
    return drawn.coefficients.get(term, 0.0)


def test_the_supervised_mass_of_a_step_is_shared_between_the_parts():
    pool = samples(20, 20, 40)
    step = next(draw(pool, RECIPE, 1))
    by_part = {
        part: sum(share(d, Term.SUPERVISED) for d in step if pool[d.index].part is part) for part in Part
    }
    assert by_part[Part.NEW] == pytest.approx(0.4)
    assert by_part[Part.REPLAY] == pytest.approx(0.2)
    assert by_part[Part.ANCHOR] == pytest.approx(0.4)


def test_a_kl_term_stands_beside_cross_entropy_on_anchors_with_the_same_share():
    pool = samples(20, 20, 40)
    step = next(draw(pool, RECIPE, 1))
    anchors = [d for d in step if pool[d.index].part is Part.ANCHOR]
    assert sum(share(d, Term.SUPERVISED) for d in anchors) == pytest.approx(0.4)
    assert sum(share(d, Term.KL) for d in anchors) == pytest.approx(0.5 * 0.4)
    assert sum(share(d, Term.KL) for d in step) == pytest.approx(0.5 * 0.4)


def test_without_replay_its_share_goes_to_the_others():
    pool = samples(20, 0, 40)
    step = next(draw(pool, RECIPE, 1))
    assert sum(share(d, Term.SUPERVISED) for d in step if pool[d.index].part is Part.NEW) == pytest.approx(
        0.5
    )
    assert len(step) == 24


@given(
    new=st.integers(1, 30),
    replay=st.integers(0, 20),
    anchors=st.integers(0, 40),
    seed=st.integers(0, 99),
    paired=st.booleans(),
)
def test_every_term_of_every_step_sums_to_its_weight(new, replay, anchors, seed, paired):
    more = {"rejected": Weighted(text="no")} if paired else {}
    pool = samples(new, replay, anchors, **more)
    steps = draw(pool, RECIPE, seed)
    for _ in range(4):
        step = next(steps)
        assert sum(share(d, Term.SUPERVISED) for d in step) == pytest.approx(1.0)
        assert sum(share(d, Term.PREFERENCE) for d in step) == pytest.approx(1.0 if paired else 0.0)
        anchor_share = 0.4 / (0.8 + (0.2 if replay else 0.0)) if anchors else 0.0
        assert sum(share(d, Term.KL) for d in step) == pytest.approx(0.5 * anchor_share)
        assert len({d.index for d in step}) == len(step)


def test_every_term_says_which_samples_it_takes() -> None:
    assert set(ENTERS) == set(Term)


def test_masses_are_relative_within_a_part():
    pool = samples(1, 0, 0, mass=3.0) + samples(1, 0, 0)
    step = next(draw(pool, RECIPE, 1))
    assert sorted(share(d, Term.SUPERVISED) for d in step) == pytest.approx([0.25, 0.75])


def test_own_words_count_in_the_policy_term_alone():
    pool = samples(2, 0, 0) + [
        TOKENS.sample(
            tiny_base.build_episode(
                f"p{n}", "yes", advantage=0.5, sampled=tiny_base.build_sampled_tokens("yes")
            ),
            tokens_max=512,
        )
        for n in range(2)
    ]
    step = next(draw(pool, RECIPE, 1))
    assert [share(d, Term.POLICY) for d in sorted(step, key=lambda d: d.index)] == pytest.approx(
        [0, 0, 0.25, 0.25]
    )
    assert [share(d, Term.SUPERVISED) for d in sorted(step, key=lambda d: d.index)] == pytest.approx(
        [0.5, 0.5, 0, 0]
    )


@pytest.mark.parametrize(
    ("tokens_alike", "expected"), [(False, [0.5, 0.5]), (True, [4 / 12, 8 / 12])]
)  # "yes" and "certain" have an end of turn each
def test_either_each_reply_or_each_token_weighs_the_same_in_the_policy_term(
    tokens_alike: bool, expected: list[float]
) -> None:
    pool = [
        TOKENS.sample(
            tiny_base.build_episode("p", reply, advantage=0.5, sampled=tiny_base.build_sampled_tokens(reply)),
            tokens_max=512,
        )
        for reply in ("yes", "certain")
    ]
    step = next(
        draw(pool, Recipe(tokens_alike=tokens_alike, coefficients={**COEFFICIENTS, Term.POLICY: 1.0}), 1)
    )
    assert [share(d, Term.POLICY) for d in sorted(step, key=lambda d: d.index)] == pytest.approx(expected)


def test_every_sample_comes_equally_often():
    pool = samples(12, 0, 0)
    steps = draw(pool, RECIPE, 3)
    seen = [d.index for _ in range(6) for d in next(steps)]
    assert all(3 <= seen.count(index) <= 5 for index in range(12))


def test_the_same_seed_draws_the_same_steps():
    pool = samples(20, 5, 9)
    first, second, other = (draw(pool, RECIPE, seed) for seed in (1, 1, 2))
    drawn = [[next(steps) for _ in range(5)] for steps in (first, second, other)]
    assert drawn[0] == drawn[1] != drawn[2]


def cooled(length: Length) -> int:
    """Steps at the full rate, of a lesson that nothing ends before its bound."""
    step = 1
    while not length.must_cool(step):
        step += 1
    length.cool(step)
    return step


def test_the_rate_of_a_lesson_of_unknown_length_stays_and_cools_down_over_the_last_fifth() -> None:
    recipe = Recipe(learning_rate=1e-3, warmup_steps=4, final_rate=0.1)
    length = Length(steps_min=24, steps=60)
    flat = [length.rate(1e-3, step, recipe) for step in range(48)]
    assert cooled(length) == 48
    falling = [length.rate(1e-3, step, recipe) for step in range(48, 60)]
    assert flat[0] == pytest.approx(0.25e-3)
    assert set(flat[3:]) == {1e-3}
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == pytest.approx(1e-3 * (1 - 0.9 * 11 / 12))


def test_the_rate_of_a_lesson_of_fixed_length_warms_up_and_falls_linearly() -> None:
    recipe = Recipe(learning_rate=1e-3, warmup_steps=4, final_rate=0.1)
    length = Length(steps_min=60, steps=60)
    rates = [length.rate(1e-3, step, recipe) for step in range(60)]
    assert rates[0] == pytest.approx(0.25e-3)
    assert max(rates) == rates[3] == pytest.approx(1e-3 * (1 - 0.9 * 3 / 60))
    assert rates[59] == pytest.approx(1e-3 * (1 - 0.9 * 59 / 60))


@given(st.integers(2, 500))
def test_a_lesson_that_nothing_ends_takes_exactly_the_steps_it_may(steps: int) -> None:
    length = Length(steps_min=1, steps=steps)
    assert cooled(length) <= length.steps == steps


@given(st.integers(1, 200), st.integers(1, 200))
def test_a_lesson_that_ends_early_takes_at_least_the_steps_it_must(least: int, step: int) -> None:
    length = Length(steps_min=least, steps=1000)
    if length.may_cool(step):
        length.cool(step)
        assert least <= length.steps < 1000


def test_steps_follow_the_epochs_within_bounds() -> None:
    recipe = Recipe(steps_min=24, steps=60)
    assert steps_by_epochs(recipe, new=8) == 24
    assert steps_by_epochs(recipe, new=80) == 30
    assert steps_by_epochs(recipe, new=8000) == 60
