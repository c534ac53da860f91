"""Trains a lesson at several learning rates side by side and chooses one of them; gate events never choose.

Every try has a slot of its own in the same pass. The try with the lowest loss on the lesson's dev episodes is
chosen. With fewer than `DEV_EPISODES_MIN` of those, one corrected prompt in four is held out of all tries and
decides with them; then the lesson is trained once more, on everything, at the chosen rate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from engine.lesson import Learned, Lesson, NotLearned
from engine.measurements import RateTry
from engine.progress import DEV_EPISODES_MIN, KEPT_SHARE
from engine.rates import peak_rate
from rewards.episode import Episode, Part

HELD_OUT_EVERY = 4
"""One corrected prompt in so many is held out to choose by, where dev episodes are too few."""

_JUDGES_MIN = 2  # episodes that choose, at least; with fewer there is one try

ONE_TRY = (1.0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedLesson:
    """A lesson that is trained, and the episodes on which its loss is measured afterwards."""

    lesson: Lesson
    judges: tuple[Episode, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedResult:
    """What a lesson became, and its loss on its judges; None if it was not learned or has none."""

    result: Learned | NotLearned
    loss_nats: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonTries:
    """The lessons that one lesson is trained as, and the episodes that choose among them."""

    lesson: Lesson
    tries: tuple[Lesson, ...]
    judges: tuple[Episode, ...] = ()  # empty: there is one try
    holds_out: bool = False  # some of the judges are missing in the tries


def learn_in_tries(
    lessons: Sequence[Lesson],
    train: Callable[[Sequence[TriedLesson]], Sequence[TriedResult]],
    *,
    width: int,
) -> list[Learned | NotLearned]:
    """Train every lesson at each of its learning rates, and return the result of the best, in their order.

    `train` trains lessons together. It is called once, and again for lessons some of whose corrections were
    held out.
    """
    plans = [tries_of(lesson, width=width) for lesson in lessons]
    trained = iter(
        train([TriedLesson(lesson=tried, judges=plan.judges) for plan in plans for tried in plan.tries])
    )
    tried = [[next(trained) for _ in plan.tries] for plan in plans]
    places = [_chosen(own) if plan.judges else 0 for plan, own in zip(plans, tried, strict=True)]
    again = [index for index, place in enumerate(places) if plans[index].holds_out and place is not None]
    whole = [
        TriedLesson(lesson=replace(plans[index].tries[places[index] or 0], episodes=lessons[index].episodes))
        for index in again
    ]
    last = dict(zip(again, train(whole) if whole else (), strict=True))
    return [_result(plans[index], own, places[index], last.get(index)) for index, own in enumerate(tried)]


def tries_of(lesson: Lesson, *, width: int) -> LessonTries:
    """The tries of a lesson on a base that is `width` wide; the same for the same lesson."""
    alone = LessonTries(lesson=lesson, tries=(lesson,))
    if lesson.recipe.tries == ONE_TRY:
        return alone
    dev = [episode for episode in lesson.episodes if _is_dev(episode)]
    held_out = [] if len(dev) >= DEV_EPISODES_MIN else _held_out(lesson.episodes)
    judges = (*dev, *held_out)
    peak = peak_rate(lesson.recipe, width=width)
    if len(judges) < _JUDGES_MIN:
        first = replace(lesson.recipe, learning_rate=peak * lesson.recipe.tries[0], tries=ONE_TRY)
        return LessonTries(lesson=lesson, tries=(replace(lesson, recipe=first),))
    shown = tuple(episode for episode in lesson.episodes if episode not in held_out)
    recipes = [
        replace(lesson.recipe, learning_rate=peak * factor, tries=ONE_TRY) for factor in lesson.recipe.tries
    ]
    return LessonTries(
        lesson=lesson,
        tries=tuple(replace(lesson, recipe=recipe, episodes=shown) for recipe in recipes),
        judges=judges,
        holds_out=bool(held_out),
    )


def _chosen(tried: Sequence[TriedResult]) -> int | None:
    """The place of the try with the lowest loss; None if none was learned.

    Tries that kept the anchors come first: a lower loss is no gain if other replies change.
    """
    ranked = [
        (_breaks_anchors(attempt.result), attempt.loss_nats, place)
        for place, attempt in enumerate(tried)
        if isinstance(attempt.result, Learned) and attempt.loss_nats is not None
    ]
    return min(ranked)[-1] if ranked else None


def _result(
    plan: LessonTries, tried: Sequence[TriedResult], place: int | None, last: TriedResult | None
) -> Learned | NotLearned:
    """The result of the chosen try, or of the training after it, with what was tried."""
    result = (tried[place or 0] if last is None else last).result
    if not plan.judges:
        return result
    tokens = [_tokens(attempt.result) for attempt in tried]
    beside = sum(tokens) - (0 if last is not None else _tokens(result))
    if isinstance(result, NotLearned):
        return replace(result, tokens=result.tokens + beside)
    rates = tuple(
        RateTry(
            learning_rate=attempt.result.metrics.learning_rate or 0.0,
            steps=attempt.result.metrics.steps,
            loss_nats=attempt.loss_nats,
            kept_share=attempt.result.metrics.kept_share,
            is_chosen=number == place,
        )
        for number, attempt in enumerate(tried)
        if isinstance(attempt.result, Learned) and attempt.loss_nats is not None
    )
    return replace(result, tries=rates, tokens_beside=beside)


def _tokens(result: Learned | NotLearned) -> int:
    return result.metrics.tokens if isinstance(result, Learned) else result.tokens


def _held_out(episodes: Sequence[Episode]) -> list[Episode]:
    """The corrections of every fourth prompt, by the order in which the prompts come."""
    prompts: dict[str, list[Episode]] = {}
    for episode in episodes:
        if episode.part is Part.NEW and episode.advantage is None:
            prompts.setdefault(repr(episode.messages), []).append(episode)
    groups = list(prompts.values())[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    return [episode for group in groups for episode in group]


def _is_dev(episode: Episode) -> bool:
    return episode.part is Part.DEV and episode.advantage is None


def _breaks_anchors(learned: Learned) -> bool:
    kept = learned.metrics.kept_share
    return kept is not None and kept < KEPT_SHARE
