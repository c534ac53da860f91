"""Chooses the events of one turn: new feedback, taught feedback to replay, anchors, and dev events to watch.

Anchors matter more than the choice of loss (measured). They are approved replies; half of them answer the
prompts that are most similar to the corrected ones, which shows the agent where a rule ends.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from feedback.grouping import normalise
from ledger.events import CORRECTING, Interaction, KeptEvent, Kind, Role
from rewards.episode import Part
from rewards.exchange import History, asked
from rewards.outdated import ApprovedReply, Corrected, outdated, rule_of
from rewards.similarity import most_similar, text_features

SIMILAR_SHARE = 0.5
"""Share of the anchors with similar prompts. At 0 a rule spreads to all prompts; at 1 other skills suffer."""

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
    seed: int,
    replay_max: int,
    anchors_max: int,
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
        [*approvals, *silent, *taught, *dev], corrections=corrections, new=new, history=history
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
        Part.ANCHOR: sample_approvals(unaffected, to=new, history=history, count=anchors_max, seed=seed),
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
) -> frozenset[int]:
    """Numbers (`seq`) of the answers that newer corrections contradict: all of them, or the `new` ones alone.

    The `new` ones alone too, because a rule may return with a wider condition: answers that the first
    corrections spared are then outdated.
    """
    replies = [
        ApprovedReply(seq=kept.seq, prompt=asked(history.about(kept.event).messages), reply=reply)
        for kept in answers
        if (reply := history.right_reply(kept.event))
    ]
    return outdated(replies, corrected(corrections, history)) | outdated(replies, corrected(new, history))


def corrected(events: Iterable[KeptEvent], history: History) -> list[Corrected]:
    """The corrections and overrides whose prompt and both replies are known, each once."""
    pairs = []
    for kept in {kept.seq: kept for kept in events}.values():
        if kept.event.kind in CORRECTING:
            exchange = history.about(kept.event)
            right = str(kept.event.data["corrected"])
            if exchange.messages and exchange.reply:
                prompt = asked(exchange.messages)
                pairs.append(Corrected(seq=kept.seq, prompt=prompt, rejected=exchange.reply, corrected=right))
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
    approvals: Iterable[KeptEvent], *, to: Iterable[KeptEvent], history: History, count: int, seed: int
) -> list[KeptEvent]:
    """At most `count` approvals, one for each prompt: half similar to the prompts of `to`, half random."""
    newest: dict[str, KeptEvent] = {}
    for kept in sorted(approvals, key=_arrival):
        exchange = history.about(kept.event)
        if exchange.messages and exchange.reply:
            newest[normalise(asked(exchange.messages))] = kept
    prompts = sorted(newest, key=lambda prompt: newest[prompt].seq)[-_CANDIDATES_MAX:]
    chance = random.Random(f"{seed}/anchors")
    targets = sorted({asked(history.about(kept.event).messages) for kept in to})
    targets = chance.sample(targets, min(len(targets), _TARGETS_MAX))
    similar = most_similar(
        [text_features(prompt) for prompt in prompts],
        [text_features(target) for target in targets],
        round(count * SIMILAR_SHARE),
    )
    others = [place for place in range(len(prompts)) if place not in set(similar)]
    places = [*similar, *chance.sample(others, min(len(others), count - len(similar)))]
    return [newest[prompts[place]] for place in places]


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
