"""What one turn is made of: the new feedback, lessons repeated, answers that must stay, and some to watch.

Anchors matter more than the choice of loss (measured): replies somebody approved, half of them to the
prompts most like the corrected ones, so that a rule is also shown where it ends.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from feedback.grouping import normalise
from ledger.events import CORRECTING, Interaction, KeptEvent, Kind, Role
from rewards.episode import Part
from rewards.exchange import History, asked
from rewards.likeness import most_alike, text_features
from rewards.outdated import ApprovedReply, Corrected, outdated, rule_of

SIMILAR_SHARE = 0.5
"""Of the anchors; with none a rule fires everywhere, with nothing else the agent's other skills suffer."""

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
    gate: Sequence[KeptEvent],
    dev: Sequence[KeptEvent],
    interactions: Mapping[str, Interaction],
    seed: int,
    replay_max: int,
    anchors_max: int,
) -> TurnSelection:
    """One agent's turn about `new`; the same arguments give the same choice.

    `taught` is what its champion was taught, `approvals` its usable ones of role train, `gate` and `dev` its
    corrections of those roles. Replay takes turns over the rules that were taught. No anchor has the prompt
    group of a correction, and nothing outdated is repeated, kept or watched.
    """
    record = History(interactions=interactions, conversations={})
    said = [*new, *taught, *gate, *dev]
    stale = find_outdated([*approvals, *taught, *dev], corrections=said, new=new, record=record)
    lessons = [kept for kept in taught if kept.event.kind in (*CORRECTING, Kind.TAKEOVER)]
    beside = _weighed_by_rejections(new, taught, approvals, record)
    groups = {kept.event.prompt_group for kept in said}
    taken = stale | {kept.seq for kept in beside}
    calm = [
        one
        for one in approvals
        if one.seq not in taken and one.event.prompt_group not in groups and one.event.role is Role.TRAIN
    ]
    watched = [kept for kept in dev if kept.event.kind in CORRECTING and kept.seq not in stale]
    parts = {
        Part.NEW: [*new, *beside],
        Part.REPLAY: fair_sample([one for one in lessons if one.seq not in stale], record, replay_max, seed),
        Part.ANCHOR: half_similar(calm, to=new, record=record, count=anchors_max, seed=seed),
        Part.DEV: watched[-_DEV_MAX:],
    }
    return TurnSelection(
        parts={part: tuple(sorted(members, key=_arrival)) for part, members in parts.items()},
        outdated=stale,
    )


def find_outdated(
    answers: Iterable[KeptEvent],
    *,
    corrections: Iterable[KeptEvent],
    new: Iterable[KeptEvent],
    record: History,
) -> frozenset[int]:
    """Which of the answers newer corrections contradict, taken all together, or the `new` ones alone.

    Alone too, because a rule may come back wider: what it spares since its first wave is then news.
    """
    known = [
        ApprovedReply(seq=one.seq, prompt=asked(record.about(one.event).messages), reply=reply)
        for one in answers
        if (reply := record.right_reply(one.event))
    ]
    return outdated(known, corrected(corrections, record)) | outdated(known, corrected(new, record))


def corrected(events: Iterable[KeptEvent], record: History) -> list[Corrected]:
    """Corrections and overrides whose prompt and both replies are known, each once."""
    found = []
    for one in {kept.seq: kept for kept in events}.values():
        if one.event.kind in CORRECTING:
            about = record.about(one.event)
            right = str(one.event.data["corrected"])
            if about.messages and about.said:
                prompt = asked(about.messages)
                found.append(Corrected(seq=one.seq, prompt=prompt, rejected=about.said, corrected=right))
    return found


def fair_sample(lessons: Sequence[KeptEvent], record: History, count: int, seed: int) -> list[KeptEvent]:
    """At most `count` lessons, drawn from each rule in turn so that none of them is forgotten."""
    rules = rule_of(corrected(lessons, record))
    strata: dict[object, list[KeptEvent]] = {}
    for one in sorted(lessons, key=_arrival):
        strata.setdefault(rules.get(one.seq), []).append(one)  # takeovers are a stratum of their own
    chance = random.Random(f"{seed}/replay")
    for stratum in strata.values():
        chance.shuffle(stratum)
    waiting = [stratum for stratum in strata.values() if stratum]
    chance.shuffle(waiting)
    drawn: list[KeptEvent] = []
    while waiting and len(drawn) < count:
        for stratum in waiting[: count - len(drawn)]:
            drawn.append(stratum.pop())
        waiting = [stratum for stratum in waiting if stratum]
    return drawn


def half_similar(
    approvals: Iterable[KeptEvent], *, to: Iterable[KeptEvent], record: History, count: int, seed: int
) -> list[KeptEvent]:
    """At most `count` approvals, one a prompt: half most like the prompts of `to`, half by chance."""
    newest: dict[str, KeptEvent] = {}
    for one in sorted(approvals, key=_arrival):
        about = record.about(one.event)
        if about.messages and about.said:
            newest[normalise(asked(about.messages))] = one
    prompts = sorted(newest, key=lambda prompt: newest[prompt].seq)[-_CANDIDATES_MAX:]
    chance = random.Random(f"{seed}/anchors")
    targets = sorted({asked(record.about(one.event).messages) for one in to})
    targets = chance.sample(targets, min(len(targets), _TARGETS_MAX))
    similar = most_alike(
        [text_features(prompt) for prompt in prompts],
        [text_features(target) for target in targets],
        round(count * SIMILAR_SHARE),
    )
    others = [place for place in range(len(prompts)) if place not in set(similar)]
    places = [*similar, *chance.sample(others, min(len(others), count - len(similar)))]
    return [newest[prompts[place]] for place in places]


def _weighed_by_rejections(
    new: Sequence[KeptEvent],
    taught: Sequence[KeptEvent],
    approvals: Sequence[KeptEvent],
    record: History,
) -> list[KeptEvent]:
    """The newest untaught approvals of sampled replies, as many as there are rejections to weigh them."""
    rejections = sum(kept.event.kind is Kind.REJECT for kept in new)
    known = {kept.seq for kept in (*new, *taught)}
    praised = [
        kept
        for kept in sorted(approvals, key=_arrival)
        if kept.seq not in known and kept.event.role is Role.TRAIN and record.about(kept.event).spoken
    ]
    return praised[len(praised) - min(rejections, len(praised)) :]


def _arrival(kept: KeptEvent) -> int:
    return kept.seq
