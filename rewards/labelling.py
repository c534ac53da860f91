"""Labels an agent's events: each becomes episodes, is barren, or is deferred.

Planning asks which waiting events can teach now. Preparing asks for the episodes of the events that a turn
was planned with, and always gets the same ones: a pass can be repeated.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ledger.events import KeptEvent, Status
from rewards.balance import balance
from rewards.baseline import Baselines
from rewards.credit import Barren, CreditTable, Deferred
from rewards.episode import Episode, Part
from rewards.exchange import History
from rewards.success import successes

_GONE = (Status.RETRACTED, Status.SUPERSEDED, Status.UNDONE, Status.NOT_YOURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Events that no turn is planned with, by `seq`, with the reason."""

    barren: Mapping[int, str]  # teaches nothing, now or later
    deferred: Mapping[int, str]  # may teach once more is known


def settle_for_planning(
    waiting: Sequence[KeptEvent],
    *,
    history: History,
    baselines: Baselines,
    around: Iterable[KeptEvent] = (),
) -> Settled:
    """Which waiting events are barren and which are deferred; turns may be planned with all others.

    `around` are other events of the agent: those that amendments refer to, and successes that aborts need.
    """
    known = _by_revision(around, waiting)
    withdrawn = frozenset(kept.seq for kept in known if kept.status in _GONE)
    table = CreditTable(
        history=history,
        baselines=baselines,
        part=Part.NEW,
        others=known,
        withdrawn=withdrawn,
        successes=successes([kept for kept in known if kept.seq not in withdrawn], history),
    )
    labels = _labels(waiting, table)
    left_out = labels.credited.keys() - _balanced(labels, waiting).keys()
    unweighed = dict.fromkeys(left_out, "an approval, and no rejection in the turn")
    return Settled(barren=labels.barren | unweighed, deferred=labels.deferred)


def episodes_of_turn(
    members: Sequence[KeptEvent],
    *,
    part: Part,
    history: History,
    baselines: Baselines,
    around: Iterable[KeptEvent] = (),
    outcome_discount: float = 1.0,
) -> tuple[Episode, ...]:
    """The episodes of a turn's events in this part of its batch, in the events' order.

    Planning has decided that these events teach. Later withdrawals and successes change nothing: equal events
    give equal episodes. Masses are balanced in the new part only. An outcome for a conversation counts
    `outcome_discount` (of the recipe) times as much for each turn before the last one.
    """
    table = CreditTable(
        history=history,
        baselines=baselines,
        part=part,
        others=_by_revision(around, members),
        withdrawn=frozenset(),
        successes=None,
        discount=outcome_discount,
    )
    labels = _labels(members, table)
    credited = _balanced(labels, members) if part is Part.NEW else labels.credited
    return tuple(episode for seq in sorted(credited) for episode in credited[seq])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Labels:
    """The label of every event, by `seq`."""

    credited: dict[int, tuple[Episode, ...]] = field(default_factory=dict)
    barren: dict[int, str] = field(default_factory=dict)
    deferred: dict[int, str] = field(default_factory=dict)


def _labels(events: Iterable[KeptEvent], table: CreditTable) -> _Labels:
    labels = _Labels()
    for kept in sorted(events, key=lambda kept: kept.seq):
        match table.credit(kept.event):
            case Barren(reason):
                labels.barren[kept.seq] = reason
            case Deferred(reason):
                labels.deferred[kept.seq] = reason
            case episodes:
                asked_s = kept.received_s if kept.event.occurred_s is None else kept.event.occurred_s
                labels.credited[kept.seq] = tuple(replace(episode, asked_s=asked_s) for episode in episodes)
    return labels


def _balanced(labels: _Labels, events: Iterable[KeptEvent]) -> dict[int, tuple[Episode, ...]]:
    return balance(labels.credited, {kept.seq: kept.event for kept in events})


def _by_revision(*groups: Iterable[KeptEvent]) -> tuple[KeptEvent, ...]:
    """Each event of the groups once; valid events come last, as in `ledger.intake.amendments`."""
    known = {kept.seq: kept for group in groups for kept in group}
    return tuple(sorted(known.values(), key=_revision))


def _revision(kept: KeptEvent) -> tuple[bool, int, bool, int]:
    return kept.status not in _GONE, kept.event.revision, kept.event.amends is not None, kept.seq
