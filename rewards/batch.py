"""Chooses the events of one turn: new feedback, taught feedback to replay, anchors, and dev events to watch.

Anchors matter more than the choice of loss (measured). They are approved replies; half of them answer the
prompts that are most similar to the corrected ones, which shows the agent where a rule ends.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from feedback.grouping import normalise
from ledger.events import CORRECTING, Interaction, KeptEvent, Kind, Role
from rewards.episode import Part
from rewards.exchange import History, asked
from rewards.outdated import ApprovedReply, Corrected, outdated, rule_of
from rewards.replies import reply_text
from rewards.similarity import TextFeatures, most_similar, text_features
from rewards.supporters import Supporters, author_of

SIMILAR_SHARE = 0.5
"""Share of the anchors with similar prompts. At 0 a rule spreads to all prompts; at 1 other skills suffer."""

MostSimilar = Callable[[Sequence[TextFeatures], Sequence[TextFeatures], int], list[int]]
"""Chooses so many candidates that are similar to targets; returns their places."""

_CANDIDATES_MAX = 1000  # newest approvals that are compared
_TARGETS_MAX = 64  # corrected prompts they are compared with
_DEV_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnSelection:
    """The events of a turn, each in one part, in order of arrival."""

    parts: Mapping[Part, tuple[KeptEvent, ...]]
    outdated: frozenset[int]  # `seq` of older answers that newer corrections contradict


def choose(
    *,
    new: Sequence[KeptEvent],
    taught: Sequence[KeptEvent],
    approvals: Sequence[KeptEvent],
    silent: Sequence[KeptEvent] = (),
    gate: Sequence[KeptEvent],
    dev: Sequence[KeptEvent],
    interactions: Mapping[str, Interaction],
    supporters: Supporters,
    seed: int,
    replay_max: int,
    anchors_max: int,
    similar_share: float = SIMILAR_SHARE,
) -> TurnSelection:
    """The events of one agent's turn about `new`; the same arguments give the same choice.

    `taught` are the events that its champion was trained on, `approvals` its usable approvals of role train,
    `gate` and `dev` its corrections of those roles, `silent` replies that nobody objected to
    (`rewards.silence`). Replay draws from each taught rule in turn. No anchor has
    the prompt group of a correction. No outdated event is replayed, an anchor or watched.
    """
    history = History(interactions=interactions, conversations={})
    corrections = [*new, *taught, *gate, *dev]
    outdated_seqs = find_outdated(
        [*approvals, *silent, *taught, *dev],
        corrections=corrections,
        new=new,
        history=history,
        supporters=supporters,
    )
    demonstrations = [kept for kept in taught if kept.event.kind in (*CORRECTING, Kind.TAKEOVER)]
    untaught_approvals = _untaught_approvals(new, taught, approvals, history)
    groups = {kept.event.prompt_group for kept in corrections}
    seqs_used = outdated_seqs | {kept.seq for kept in untaught_approvals}
    unaffected = [
        kept
        for kept in (*silent, *approvals)
        if kept.seq not in seqs_used
        and kept.event.prompt_group not in groups
        and kept.event.role is Role.TRAIN
    ]
    dev_corrections = [
        kept for kept in dev if kept.event.kind in CORRECTING and kept.seq not in outdated_seqs
    ]
    parts = {
        Part.NEW: [*new, *untaught_approvals],
        Part.REPLAY: fair_sample(
            [kept for kept in demonstrations if kept.seq not in outdated_seqs], history, replay_max, seed
        ),
        Part.ANCHOR: sample_approvals(
            unaffected,
            to=new,
            history=history,
            count=anchors_max,
            seed=seed,
            similar_share=similar_share,
        ),
        Part.DEV: dev_corrections[-_DEV_MAX:],
    }
    return TurnSelection(
        parts={part: tuple(sorted(members, key=_arrival)) for part, members in parts.items()},
        outdated=outdated_seqs,
    )


def find_outdated(
    answers: Iterable[KeptEvent],
    *,
    corrections: Iterable[KeptEvent],
    new: Iterable[KeptEvent],
    history: History,
    supporters: Supporters,
    witnesses: Iterable[KeptEvent] = (),
) -> frozenset[int]:
    """Numbers (`seq`) of the answers that newer corrections contradict: all of them, or the `new` ones alone.

    The `new` ones alone too, because a rule may return with a wider condition: answers that the first
    corrections spared are then outdated. A correction contradicts other people's answers only if enough
    people stand behind it, and its author's own answers in any case. `witnesses` are approvals: a rule that
    contradicts more people's than are behind it outdates nothing.
    """
    outdated_seqs: set[int] = set()
    answers = list(answers)
    replies, answers_of = _approved_replies(answers, history), _by_author(answers)
    approved = _approved_replies(witnesses, history)
    for corrected_events in (list(corrections), list(new)):
        confirmed = [kept for kept in corrected_events if supporters.are_enough(kept.seq)]
        outdated_seqs |= outdated(replies, corrected(confirmed, history, supporters), witnesses=approved)
        for author, own in _by_author(corrected_events).items():
            if author in answers_of and not all(supporters.are_enough(kept.seq) for kept in own):
                own_replies = _approved_replies(answers_of[author], history)
                outdated_seqs |= outdated(own_replies, corrected(own, history))
    return frozenset(outdated_seqs)


def _approved_replies(answers: Iterable[KeptEvent], history: History) -> list[ApprovedReply]:
    return [
        ApprovedReply(
            seq=kept.seq,
            prompt=asked(history.about(kept.event).messages),
            reply=reply,
            author=author_of(kept),
        )
        for kept in answers
        if (reply := history.right_reply(kept.event))
    ]


def _by_author(events: Iterable[KeptEvent]) -> dict[str, list[KeptEvent]]:
    by_author: dict[str, list[KeptEvent]] = defaultdict(list)
    for kept in events:
        by_author[author_of(kept)].append(kept)
    return by_author


def corrected(
    events: Iterable[KeptEvent], history: History, supporters: Supporters | None = None
) -> list[Corrected]:
    """The corrections and overrides whose prompt and both replies are known, each once.

    With `supporters`, those that need more people than their author name the author.
    """
    pairs = []
    for kept in {kept.seq: kept for kept in events}.values():
        if kept.event.kind in CORRECTING:
            exchange = history.about(kept.event)
            right = reply_text(kept.event.data["corrected"])
            if exchange.messages and exchange.reply:
                prompt = asked(exchange.messages)
                alone = supporters is None or supporters.stands_alone(kept.seq)
                pairs.append(
                    Corrected(
                        seq=kept.seq,
                        prompt=prompt,
                        rejected=exchange.reply,
                        corrected=right,
                        author=None if alone else author_of(kept),
                    )
                )
    return pairs


def fair_sample(
    demonstrations: Sequence[KeptEvent], history: History, count: int, seed: int
) -> list[KeptEvent]:
    """At most `count` demonstrations, drawn from each rule in turn, so that no rule is left out."""
    rules = rule_of(corrected(demonstrations, history))
    strata: dict[object, list[KeptEvent]] = {}
    for kept in sorted(demonstrations, key=_arrival):
        strata.setdefault(rules.get(kept.seq), []).append(kept)  # takeovers are a stratum of their own
    chance = random.Random(f"{seed}/replay")
    for stratum in strata.values():
        chance.shuffle(stratum)
    remaining = [stratum for stratum in strata.values() if stratum]
    chance.shuffle(remaining)
    drawn: list[KeptEvent] = []
    while remaining and len(drawn) < count:
        for stratum in remaining[: count - len(drawn)]:
            drawn.append(stratum.pop())
        remaining = [stratum for stratum in remaining if stratum]
    return drawn


def sample_approvals(
    approvals: Iterable[KeptEvent],
    *,
    to: Iterable[KeptEvent],
    history: History,
    count: int,
    seed: int,
    similar_share: float = SIMILAR_SHARE,
    similar: MostSimilar = most_similar,
) -> list[KeptEvent]:
    """At most `count` approvals, one for each prompt: a share similar to the prompts of `to`, others random.

    If there are more than `count`, authors have equal shares, as far as each of them has so many.
    """
    by_author = _by_author(_one_for_each_prompt(approvals, history))
    targets = sorted({asked(history.about(kept.event).messages) for kept in to})
    drawn: list[KeptEvent] = []
    fewest_first = sorted(by_author.items(), key=lambda item: (len(item[1]), item[0]))
    for place, (_, own) in enumerate(fewest_first):
        share = (count - len(drawn)) // (len(by_author) - place)
        chance = random.Random(f"{seed}/anchors")
        similar_count = round(share * similar_share)
        drawn += _sample_of_one(own, targets, history, share, similar_count, chance, similar)
    return drawn


def _one_for_each_prompt(approvals: Iterable[KeptEvent], history: History) -> list[KeptEvent]:
    """The approval that counts for each prompt, oldest first: of the reply that most people approved last.

    Of replies that as many people approved, the one that was approved first.
    """
    by_prompt: dict[str, dict[str, KeptEvent]] = defaultdict(dict)
    for kept in sorted(approvals, key=_arrival):
        exchange = history.about(kept.event)
        if exchange.messages and exchange.reply:
            by_prompt[normalise(asked(exchange.messages))][author_of(kept)] = kept
    chosen = []
    for last_by_author in by_prompt.values():
        replies = {kept.seq: str(history.about(kept.event).reply) for kept in last_by_author.values()}
        people = Counter(replies.values())
        approvals_sent = [kept for kept in last_by_author.values() if kept.seq > 0] or list(
            last_by_author.values()
        )  # silence has no number
        chosen.append(min(approvals_sent, key=lambda kept: (-people[replies[kept.seq]], kept.seq)))
    return sorted(chosen, key=_arrival)


def _sample_of_one(
    approvals: Sequence[KeptEvent],
    targets: Sequence[str],
    history: History,
    count: int,
    similar_count: int,
    chance: random.Random,
    similar: MostSimilar,
) -> list[KeptEvent]:
    candidates = approvals[-_CANDIDATES_MAX:]
    compared = chance.sample(targets, min(len(targets), _TARGETS_MAX))
    alike = similar(
        [text_features(asked(history.about(kept.event).messages)) for kept in candidates],
        [text_features(target) for target in compared],
        similar_count,
    )
    others = [place for place in range(len(candidates)) if place not in set(alike)]
    places = [*alike, *chance.sample(others, min(len(others), count - len(alike)))]
    return [candidates[place] for place in places]


def _untaught_approvals(
    new: Sequence[KeptEvent],
    taught: Sequence[KeptEvent],
    approvals: Sequence[KeptEvent],
    history: History,
) -> list[KeptEvent]:
    """The newest untaught approvals of sampled replies, at most as many as there are new rejections."""
    rejections = sum(kept.event.kind is Kind.REJECT for kept in new)
    known = {kept.seq for kept in (*new, *taught)}
    untaught = [
        kept
        for kept in sorted(approvals, key=_arrival)
        if kept.seq not in known and kept.event.role is Role.TRAIN and history.about(kept.event).sampled
    ]
    return untaught[len(untaught) - min(rejections, len(untaught)) :]


def _arrival(kept: KeptEvent) -> int:
    return kept.seq
