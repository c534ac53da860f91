"""Divides a refused batch into halves, so that one bad event is told from the good ones beside it.

Corrections of one rule stay together as long as the batch has several, because a half is judged on the gate
prompts that are like its own.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from feedback.grouping import normalise
from ledger.events import CORRECTING, KeptEvent
from rewards.batch import corrected
from rewards.exchange import History, asked
from rewards.outdated import Rule, rule_of
from rewards.similarity import TextFeatures, similarity, text_features

_COMPARED_MAX = 64
"""Events of one side that a prompt is compared with: bounds the work."""


def halves(events: Sequence[KeptEvent], history: History) -> list[list[KeptEvent]]:
    """The events in two parts of about equal size; one part if all are about one prompt.

    Events about one prompt stay together, and so do those of one rule if there are others. The least similar
    rules go to different parts, every other rule to the part it is more similar to while there is room.
    The same events give the same parts.
    """
    units = _by_prompt(events, history)
    if len(units) < 2:
        return [list(events)] if events else []
    groups = _by_rule(units, history)
    if len(groups) < 2:
        groups = units  # one rule: its prompts in order of arrival
        middle = len(groups) // 2
        sides = [groups[:middle], groups[middle:]]
    else:
        sides = _apart(groups, history)
    return [sorted((kept for group in side for kept in group), key=_arrival) for side in sides]


def nearest_to(
    prompts: Iterable[KeptEvent],
    own: Sequence[KeptEvent],
    others: Sequence[KeptEvent],
    history: History,
) -> list[KeptEvent]:
    """The corrections among `prompts` that follow a rule of `own`, or are at least as like one of them as all
    of `others`."""
    prompts = list(prompts)
    rules = _rules([*prompts, *own, *others], history)
    own_rules = {rules[kept.seq] for kept in own if kept.seq in rules}
    own_features, other_features = (
        [_features(kept, history) for kept in side[-_COMPARED_MAX:]] for side in (own, others)
    )
    return [
        kept
        for kept in prompts
        if rules.get(kept.seq) in own_rules
        or _nearness(features := _features(kept, history), own_features)
        >= _nearness(features, other_features)
    ]


def _by_prompt(events: Iterable[KeptEvent], history: History) -> list[list[KeptEvent]]:
    """The events of each prompt, in order of arrival. An event without a prompt is alone."""
    by_prompt: dict[object, list[KeptEvent]] = defaultdict(list)
    for kept in sorted(events, key=_arrival):
        messages = history.about(kept.event).messages
        by_prompt[normalise(asked(messages)) if messages else kept.seq].append(kept)
    return list(by_prompt.values())


def _by_rule(units: Sequence[Sequence[KeptEvent]], history: History) -> list[list[KeptEvent]]:
    """The units whose corrections follow the same rule together, the largest first."""
    rules = _rules([kept for unit in units for kept in unit], history)
    groups: dict[object, list[KeptEvent]] = defaultdict(list)
    for unit in units:
        rule = next((rules[kept.seq] for kept in unit if kept.seq in rules), None)
        groups[rule or unit[0].seq].extend(unit)
    return sorted(groups.values(), key=lambda group: (-len(group), group[0].seq))


def _rules(events: Sequence[KeptEvent], history: History) -> dict[int, Rule]:
    """The rule of each correction (by `seq`) that has one: prose shares no words of its own with others."""
    rules = rule_of(corrected(events, history))
    return {seq: rule for seq, rule in rules.items() if any(rule)}


def _apart(groups: Sequence[list[KeptEvent]], history: History) -> list[list[list[KeptEvent]]]:
    features = [_features(group[0], history) for group in groups]
    pairs = [(first, second) for second in range(len(groups)) for first in range(second)]
    first, second = min(pairs, key=lambda pair: _likeness(features[pair[0]], features[pair[1]]))
    room = sum(map(len, groups)) / 2
    sides, sizes = [[groups[first]], [groups[second]]], [len(groups[first]), len(groups[second])]
    for place, group in enumerate(groups):
        if place in (first, second):
            continue
        nearer = int(
            _likeness(features[place], features[second]) > _likeness(features[place], features[first])
        )
        side = nearer if sizes[nearer] + len(group) <= room else int(sizes[1] < sizes[0])
        sides[side].append(group)
        sizes[side] += len(group)
    return sides


def _features(kept: KeptEvent, history: History) -> tuple[TextFeatures, TextFeatures]:
    """Of the prompt, and of the reply that is wanted."""
    wanted = history.right_reply(kept.event) or "" if kept.event.kind in CORRECTING else ""
    return text_features(asked(history.about(kept.event).messages)), text_features(wanted)


def _nearness(
    features: tuple[TextFeatures, TextFeatures], others: Iterable[tuple[TextFeatures, TextFeatures]]
) -> float:
    return max((_likeness(features, other) for other in others), default=-1.0)


def _likeness(features: tuple[TextFeatures, TextFeatures], other: tuple[TextFeatures, TextFeatures]) -> float:
    return sum(similarity(mine, its) for mine, its in zip(features, other, strict=True))


def _arrival(kept: KeptEvent) -> int:
    return kept.seq
