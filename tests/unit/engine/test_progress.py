"""When a lesson counts as learned, and when it ends."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.lesson import Learned, Lesson
from engine.measurements import End
from engine.packer import Reference
from engine.progress import ProgressCheck, dev_loss_rises, kept_share, spread
from engine.recipe import Recipe
from engine.warm_engine import WarmEngine
from rewards.episode import Part
from tests.unit.engine import tiny_base

Warm = Callable[..., WarmEngine]
RECIPE = replace(tiny_base.QUICK, steps=200, steps_min=8, learning_rate=2e-2, rank=4, new_per_step=4)


def build_check(
    *, learned: float | None = 1.0, kept: float | None = 1.0, dev: float | None = None
) -> ProgressCheck:
    return ProgressCheck(learned_share=learned, kept_share=kept, dev_loss_nats=dev)


def build_lesson(*pairs: tuple[str, str], recipe: Recipe = RECIPE) -> Lesson:
    episodes = tuple(
        tiny_base.build_episode(prompt, reply, events=(f"s#{place}",))
        for place, (prompt, reply) in enumerate(pairs)
    )
    return Lesson(agent="a", parent=None, recipe=recipe, seed=1, episodes=episodes)


def learn(engine: WarmEngine, lesson: Lesson) -> Learned:
    (result,) = engine.learn([lesson])
    assert isinstance(result, Learned)
    return result


@pytest.mark.parametrize(
    ("check", "learned"),
    [
        (build_check(), True),
        (build_check(kept=None), True),
        (build_check(learned=0.9), False),
        (build_check(kept=0.98), False),
        (build_check(learned=None), False),
    ],
)
def test_a_lesson_is_learned_where_its_corrections_are_and_its_anchors_are_kept(
    check: ProgressCheck, learned: bool
) -> None:
    assert check.learned is learned


def test_a_dev_loss_rises_where_it_rose_twice_in_a_row() -> None:
    def rises(*losses: float | None) -> bool:
        return dev_loss_rises([build_check(dev=loss) for loss in losses])

    assert rises(1.0, 1.1, 1.2)
    assert not rises(1.0, 1.2)
    assert not rises(1.0, 1.2, 1.1)
    assert not rises(None, None, None)


def build_reference(*tokens: tuple[float, bool]) -> Reference:
    """Tokens with their probability, and whether they are the first choice."""
    probabilities, tops = zip(*tokens, strict=True)
    return Reference(logprob_N=torch.tensor(probabilities).log(), top_N=torch.tensor(tops))


def test_a_first_choice_among_likely_ones_may_change() -> None:
    champion = [build_reference((0.9, True), (0.45, True), (0.3, False))]
    assert kept_share([build_reference((0.8, True), (0.44, False), (0.3, True))], champion) == 1.0
    assert kept_share([build_reference((0.4, False), (0.45, True), (0.3, False))], champion) == 0.0


def test_where_no_choice_is_clear_all_first_ones_count() -> None:
    champion = [build_reference((0.5, True), (0.4, True))]
    assert kept_share([build_reference((0.5, True), (0.3, False))], champion) == 0.5
    assert kept_share([], []) is None


def test_watched_samples_are_spread_evenly_and_bounded() -> None:
    assert spread(range(10), 4) == [0, 3, 6, 9]
    assert spread([], 4) == []
    assert spread(range(3), 4) == [0, 1, 2]


def test_a_lesson_ends_once_it_is_learned(warm: Warm) -> None:
    metrics = learn(warm(), build_lesson(("a", "yes"), ("b", "no"))).metrics
    assert metrics.ended is End.LEARNED
    assert metrics.learned_share == 1.0
    assert 8 <= metrics.steps < 200


def test_a_lesson_that_contradicts_itself_ends_at_its_bound(warm: Warm) -> None:
    recipe = replace(RECIPE, steps=30)
    metrics = learn(warm(), build_lesson(("a", "yes"), ("a", "no"), recipe=recipe)).metrics
    assert (metrics.ended, metrics.steps) == (End.STEPS, 30)
    assert metrics.learned_share is not None
    assert metrics.learned_share <= 0.5


def test_a_lesson_goes_on_until_its_anchors_are_kept(warm: Warm, tmp_path: Path) -> None:
    """The champion answers the anchor. Without it the rule would spread, as the prompts are so similar."""
    engine = warm()
    engine.save(learn(engine, build_lesson(("ac", "fine"))), tmp_path / "v1")
    anchor = tiny_base.build_episode("ac", "fine", part=Part.ANCHOR)
    rule = build_lesson(("aa", "zzzz"), ("ab", "zzzz"))
    with_anchor = replace(rule, parent=tmp_path / "v1", episodes=(*rule.episodes, anchor))
    watched = replace(with_anchor, recipe=replace(RECIPE, anchors_per_step=0, steps=40))
    taught, only_watched = (learn(engine, lesson).metrics for lesson in (with_anchor, watched))
    assert (taught.ended, taught.learned_share, taught.kept_share) == (End.LEARNED, 1.0, 1.0)
    assert (only_watched.ended, only_watched.learned_share) == (End.STEPS, 1.0)
    assert only_watched.kept_share is not None
    assert only_watched.kept_share < 0.995


def test_the_same_pass_ends_at_the_same_step_beside_others_and_again(warm: Warm) -> None:
    lessons = [build_lesson(("a", "yes")), replace(build_lesson(("b", "well then")), agent="b")]
    first, second = (warm().learn(lessons) for _ in range(2))
    for result, other_result in zip(first, second, strict=True):
        assert isinstance(result, Learned)
        assert isinstance(other_result, Learned)
        assert result.metrics == other_result.metrics


def test_a_lesson_without_corrections_takes_its_epochs(warm: Warm) -> None:
    recipe = replace(RECIPE, steps_min=2, epochs=8.0, new_per_step=2)
    episodes = tuple(
        tiny_base.build_episode(
            f"p{n}", "well", advantage=0.5, sampled=tiny_base.build_sampled_tokens("well", -5.0)
        )
        for n in range(2)
    )
    metrics = learn(warm(), Lesson(agent="a", parent=None, recipe=recipe, seed=1, episodes=episodes)).metrics
    assert (metrics.ended, metrics.steps, metrics.learned_share) == (End.STEPS, 8, None)
