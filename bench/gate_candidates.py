"""Candidates for `bench.gate`, derived from a few trained adapters: some should be good, some should not.

What a candidate really is, the exam decides: to leave a module out may be harmless, to train without anchors
as well.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from bench.adapter_mixes import Mix, MixPart
from engine.lesson import Lesson
from rewards.episode import Episode, Part

CHAMPION, TRAINED, SHUFFLED, ALONE = "champion", "trained", "shuffled", "alone"
MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

_SCALES = (0.9, 0.95, 1.05, 1.1)
_ON_THE_WAY = (0.85, 0.95, 1.05, 1.15)  # from the champion (0) to the trained adapter (1) and beyond
_NOT_YET = (0.1, 0.25)
_TOO_FAR = (2.0, 3.0, 4.0, 6.0)
_FEW = {
    ("trained", "as trained"),
    ("scaled", "x 0.9"),
    ("scaled", "x 1.1"),
    ("one module of a layer missing", "v_proj of 15"),
    ("one module of a layer missing", "down_proj of 15"),
    ("not learned", "0.1 of the way"),
    ("over-trained", "x 2.0"),
    ("over-trained", "x 3.0"),
    ("a module missing", "feed-forward"),
    ("shuffled", "1.0 of the way"),
    ("neither replay nor anchors", "1.0 of the way"),
    ("neither replay nor anchors", "1.5 of the way"),
    ("neither replay nor anchors", "0.5 beside the trained one"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedCandidate:
    """One candidate, and the family by which results are counted."""

    family: str
    name: str
    mix: Mix


def shuffled(lesson: Lesson) -> Lesson:
    """The lesson with every correction's text replaced by that of the next one."""
    new = [episode for episode in lesson.episodes if episode.part is Part.NEW]
    others = iter([*new[1:], *new[:1]])
    return replace(
        lesson,
        episodes=tuple(
            replace(episode, reply=replace(next(others).reply, spans=()))
            if episode.part is Part.NEW
            else episode
            for episode in lesson.episodes
        ),
    )


def alone(lesson: Lesson) -> Lesson:
    """The lesson with its corrections only: neither replay nor anchors hold what the agent knows."""
    return replace(lesson, episodes=tuple(filter(_is_new, lesson.episodes)))


def candidates_of(adapters: Collection[str], *, layers: Sequence[int]) -> list[MixedCandidate]:
    """All candidates that these trained adapters give; single modules of these layers are left out."""
    candidates = [*_near(layers), *_far()]
    if CHAMPION in adapters:
        candidates += _forgetting()
    if SHUFFLED in adapters:
        candidates += _misled()
    if ALONE in adapters:
        candidates += _unanchored()
    return [
        # The champion of a first wave is the bare base, which has no part in a mix.
        replace(candidate, mix=tuple(part for part in candidate.mix if part.adapter in adapters))
        for candidate in candidates
    ]


def few_of(candidates: Iterable[MixedCandidate]) -> list[MixedCandidate]:
    """A few of every kind, for a quick run and for a base whose answers take long."""
    return [candidate for candidate in candidates if (candidate.family, candidate.name) in _FEW]


def _near(layers: Sequence[int]) -> Iterator[MixedCandidate]:
    """The trained adapter and what is near it."""
    yield _named("trained", "as trained", _way(1.0))
    for factor in _SCALES:
        yield _named("scaled", f"x {factor}", (MixPart(adapter=TRAINED, factor=factor),))
    for factor in _ON_THE_WAY:
        yield _named("interpolated", f"{factor} of the way", _way(factor))
    for layer in layers:
        for module in MODULES:
            mix = _without(rf"\.{layer}\..*{module}")
            yield _named("one module of a layer missing", f"{module} of {layer}", mix)


def _far() -> Iterator[MixedCandidate]:
    """What is broken, or has not learned."""
    for factor in _NOT_YET:
        yield _named("not learned", f"{factor} of the way", _way(factor))
    for factor in _TOO_FAR:
        yield _named("over-trained", f"{factor} of the way", _way(factor))
        yield _named("over-trained", f"x {factor}", (MixPart(adapter=TRAINED, factor=factor),))
    for module in MODULES:
        yield _named("a module missing", module, _without(module))
    yield _named("a module missing", "attention", _without("self_attn"))
    yield _named("a module missing", "feed-forward", _without("mlp"))


def _forgetting() -> Iterator[MixedCandidate]:
    """The new rule without the old one: what the wave changed, and less of the champion than there was."""
    yield _named("not learned", "the champion", (MixPart(adapter=CHAMPION),))
    for kept in (0.0, 0.25, 0.5):
        parts = (MixPart(adapter=TRAINED), MixPart(adapter=CHAMPION, factor=kept - 1.0))
        yield _named("an old rule broken", f"{kept} of the champion", parts)


def _misled() -> Iterator[MixedCandidate]:
    for factor in (0.5, 1.0, 1.5):
        yield _named("shuffled", f"{factor} of the way", _way(factor, SHUFFLED))
    for share in (0.5, 0.75):
        parts = (MixPart(adapter=TRAINED, factor=1.0 - share), MixPart(adapter=SHUFFLED, factor=share))
        yield _named("shuffled", f"{share} beside the trained one", parts)


def _unanchored() -> Iterator[MixedCandidate]:
    for factor in (0.75, 1.0, 1.5, 2.0):
        yield _named("neither replay nor anchors", f"{factor} of the way", _way(factor, ALONE))
    for share in (0.5, 0.75):
        parts = (MixPart(adapter=TRAINED, factor=1.0 - share), MixPart(adapter=ALONE, factor=share))
        yield _named("neither replay nor anchors", f"{share} beside the trained one", parts)


def _named(family: str, name: str, mix: Mix) -> MixedCandidate:
    return MixedCandidate(family=family, name=name, mix=mix)


def _way(factor: float, adapter: str = TRAINED) -> Mix:
    """From the champion (0) to the adapter (1)."""
    if factor == 1.0:
        return (MixPart(adapter=adapter),)
    return (MixPart(adapter=adapter, factor=factor), MixPart(adapter=CHAMPION, factor=1.0 - factor))


def _without(modules: str) -> Mix:
    return (MixPart(adapter=TRAINED, without=modules),)


def _is_new(episode: Episode) -> bool:
    return episode.part is Part.NEW
