"""Several learning rates for one lesson: which is chosen, by what, and that a pass can still be repeated."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from engine.lesson import Learned, Lesson, NotLearned
from engine.recipe import Recipe
from engine.tries import LessonTries, TriedLesson, TriedResult, learn_in_tries, tries_of
from engine.warm_engine import WarmEngine
from rewards.episode import Episode, Part
from tests.unit.engine.measurements import build_metrics
from tests.unit.engine.tiny_engine import build_demonstrations

RATES = (1.0, 4.0, 0.25)
RECIPE = Recipe(
    rank=4, alpha=8.0, steps=8, steps_min=8, warmup_steps=1, learning_rate=5e-3, new_per_step=4, tries=RATES
)


def build_dev(count: int) -> list[Episode]:
    return [replace(episode, part=Part.DEV) for episode in build_demonstrations("d", count)]


def build_lesson(*, new: int = 8, dev: int = 0, recipe: Recipe = RECIPE) -> Lesson:
    episodes = (*build_demonstrations("a", new), *build_dev(dev))
    return Lesson(agent="a", parent=None, recipe=recipe, seed=3, episodes=episodes)


def at_rate(lesson: Lesson, factor: float) -> Lesson:
    """The lesson at one rate alone."""
    recipe = replace(lesson.recipe, learning_rate=5e-3 * factor, tries=(1.0,))
    return replace(lesson, recipe=recipe)


class FakeTraining:
    """Learns everything at once; the loss at each rate is given."""

    def __init__(self, losses: Sequence[float | None], kept: Sequence[float | None] | None = None) -> None:
        self.losses, self.kept = losses, kept or [None] * len(losses)
        self.calls: list[Sequence[TriedLesson]] = []

    def __call__(self, tried: Sequence[TriedLesson]) -> list[TriedResult]:
        self.calls.append(tried)
        return [self._result(one, place) for place, one in enumerate(tried)]

    def _result(self, tried: TriedLesson, place: int) -> TriedResult:
        lesson = tried.lesson
        rate = lesson.recipe.learning_rate
        if tried.judges and self.losses[place] is None:
            return TriedResult(result=NotLearned(agent="a", reason="not finite", tokens=10))
        metrics = build_metrics(
            tokens=100, learning_rate=rate, kept_share=self.kept[place] if tried.judges else None
        )
        learned = Learned(
            agent="a",
            parent=None,
            recipe=lesson.recipe,
            metrics=metrics,
            refused=(),
            skipped=(),
            already_known=(),
            state=lesson.episodes,
        )
        return TriedResult(result=learned, loss_nats=self.losses[place] if tried.judges else None)


def rates_of(tries: LessonTries) -> list[float | None]:
    return [lesson.recipe.learning_rate for lesson in tries.tries]


def test_a_lesson_with_one_rate_is_trained_as_it_is() -> None:
    lesson = build_lesson(recipe=replace(RECIPE, tries=(1.0,)))
    training = FakeTraining([None])
    [result] = learn_in_tries([lesson], training, width=64)
    assert training.calls == [[TriedLesson(lesson=lesson)]]
    assert isinstance(result, Learned)
    assert (result.tries, result.tokens_beside) == ((), 0)


def test_enough_dev_episodes_choose_and_nothing_is_held_out() -> None:
    lesson = build_lesson(dev=8)
    tries = tries_of(lesson, width=64)
    assert rates_of(tries) == [5e-3, 2e-2, 1.25e-3]
    assert all(tried.episodes == lesson.episodes for tried in tries.tries)
    assert all(episode.part is Part.DEV for episode in tries.judges)
    training = FakeTraining([2.0, 1.0, 3.0])
    [result] = learn_in_tries([lesson], training, width=64)
    assert len(training.calls) == 1
    assert isinstance(result, Learned)
    assert result.metrics.learning_rate == 2e-2
    assert [(tried.loss_nats, tried.is_chosen) for tried in result.tries] == [
        (2.0, False), (1.0, True), (3.0, False),
    ]  # fmt: skip
    assert result.tokens_beside == 200, "the tries that were not chosen cost too"


def test_with_few_dev_episodes_one_corrected_prompt_in_four_chooses_and_is_trained_in_the_end() -> None:
    lesson = build_lesson(new=9, dev=1)
    tries = tries_of(lesson, width=64)
    held_out = {episode.events for episode in lesson.episodes} - {
        episode.events for episode in tries.tries[0].episodes
    }
    assert len(held_out) == 2
    assert {episode.events for episode in tries.judges} == held_out | {lesson.episodes[-1].events}
    training = FakeTraining([2.0, 3.0, 1.0])
    [result] = learn_in_tries([lesson], training, width=64)
    assert isinstance(result, Learned)
    assert result.state == lesson.episodes, "the result saw everything"
    assert result.metrics.learning_rate == 1.25e-3
    assert len(training.calls[1]) == 1
    assert result.tokens_beside == 300


def test_where_nothing_can_choose_the_first_rate_is_used() -> None:
    lesson = build_lesson(new=3, recipe=replace(RECIPE, tries=(0.5, 2.0)))
    training = FakeTraining([1.0])
    [result] = learn_in_tries([lesson], training, width=64)
    assert isinstance(result, Learned)
    assert (result.metrics.learning_rate, result.tries) == (2.5e-3, ())


def test_a_rate_that_kept_the_anchors_is_preferred_to_a_lower_loss() -> None:
    training = FakeTraining([2.0, 1.0, 3.0], kept=[1.0, 0.9, 1.0])
    [result] = learn_in_tries([build_lesson(dev=8)], training, width=64)
    assert isinstance(result, Learned)
    assert result.metrics.learning_rate == 5e-3


def test_tries_that_were_not_learned_are_not_chosen() -> None:
    [result] = learn_in_tries([build_lesson(dev=8)], FakeTraining([2.0, None, 3.0]), width=64)
    assert isinstance(result, Learned)
    assert [tried.learning_rate for tried in result.tries] == [5e-3, 1.25e-3]
    [nothing] = learn_in_tries([build_lesson(dev=8)], FakeTraining([None, None, None]), width=64)
    assert isinstance(nothing, NotLearned)
    assert nothing.tokens == 30


@pytest.mark.parametrize("dev", [8, 0])
def test_the_chosen_try_is_what_its_rate_alone_gives_and_the_pass_can_be_repeated(
    warm: Callable[..., WarmEngine], tmp_path: Path, dev: int
) -> None:
    lesson = build_lesson(dev=dev)
    other = replace(build_lesson(recipe=replace(RECIPE, tries=(1.0,))), agent="b", seed=5)
    engine = warm(slots=2, rank=4, mixing="never")
    first, beside = engine.learn([lesson, other])
    assert isinstance(first, Learned)
    assert isinstance(beside, Learned)
    [chosen] = [tried for tried in first.tries if tried.is_chosen]
    assert chosen.loss_nats == min(tried.loss_nats for tried in first.tries)
    assert first.metrics.learning_rate == chosen.learning_rate
    alone, other_alone = warm(slots=2, rank=4, mixing="never").learn(
        [at_rate(lesson, chosen.learning_rate / 5e-3), other]
    )
    again, _ = engine.learn([lesson, other], form=engine.form())
    hashes = {
        name: engine.save(result, tmp_path / name).content_hash
        for name, result in {
            "first": first, "alone": alone, "again": again, "beside": beside, "other": other_alone,
        }.items()
        if isinstance(result, Learned)
    }  # fmt: skip
    assert hashes["first"] == hashes["alone"] == hashes["again"]
    assert hashes["beside"] == hashes["other"], "tries of one agent change no other's result"
