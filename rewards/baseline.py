"""Baselines: what an outcome is compared with. The difference is the advantage of what the agent did.

An outcome's group are the outcomes of the same task, or of the same prompt where no task is named.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ledger.events import Event, KeptEvent, Kind

GROUP_MIN = 2
"""Outcomes of a group that has a mean of its own: one outcome would be its own baseline."""

ALIKE = "all outcomes of its group are alike"
"""Why an outcome teaches nothing whose group has no spread (DAPO leaves such groups out)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """The means that a turn's outcomes are compared with. The turn's row stores them."""

    usual: float = 0.0  # mean of the agent's recent outcomes, for outcomes that are alone in their group
    groups: Mapping[str, float] = field(default_factory=dict)  # the mean of each group
    of_turn: bool = False  # the groups are those of the turn's own outcomes: advantages are not clipped
    alike: frozenset[str] = frozenset()  # groups without spread; known to planning alone

    def advantage(self, value: float, group: str | None) -> float:
        """The outcome's value less its baseline; in [-1, 1], or in [-2, 2] for groups of the turn.

        It is not divided by the spread of its group: that would favour tasks which nearly always or nearly
        never succeed (Liu et al. 2025, "Understanding R1-Zero-Like Training", Dr. GRPO).
        """
        difference = value - (self.usual if group is None else self.groups.get(group, self.usual))
        return difference if self.of_turn else max(-1.0, min(1.0, difference))

    def why_none(self, group: str | None) -> str:
        """Why an outcome of this group whose advantage is zero teaches nothing."""
        return ALIKE if group in self.alike else "as good as usual"


NO_BASELINES = Baselines()
"""An agent that had no outcome yet: its first ones are compared with zero."""


def group_of(event: Event) -> str | None:
    """The name of the group in which an outcome is compared: its task, else the group of its prompt."""
    task = event.data.get("task")
    return event.prompt_group if task is None else f"task {task}"


def recent_baselines(outcomes: Iterable[KeptEvent], *, last: int) -> Baselines:
    """Means of the `last` outcomes by event time: the agent's, and one for each group of two or more.

    Outcomes that amend an event do not count.
    """
    plain = [outcome for outcome in outcomes if _is_plain(outcome)]
    plain.sort(key=lambda outcome: (outcome.event.occurred_s or outcome.received_s, outcome.seq))
    counted = plain[-last:]
    return Baselines(usual=_mean([_value(outcome) for outcome in counted]), groups=_means(_grouped(counted)))


def replaced_outcomes(events: Iterable[KeptEvent]) -> dict[int, int]:
    """By `seq`: outcomes whose author gave a newer one to the same interaction, and that newer one."""
    outcomes = sorted((kept for kept in events if _is_plain(kept)), key=lambda kept: kept.seq)
    newest = {_about(kept): kept.seq for kept in outcomes if kept.event.interaction is not None}
    return {kept.seq: newer for kept in outcomes if (newer := newest.get(_about(kept), kept.seq)) != kept.seq}


def turn_baselines(outcomes: Iterable[KeptEvent], recent: Baselines) -> Baselines:
    """Means of groups of outcomes that a turn may be about (GRPO; Shao et al. 2024, 2402.03300).

    An outcome that is alone in its group is compared with the agent's `recent` mean. One that a newer one
    about the same interaction replaced does not count.
    """
    plain = [outcome for outcome in outcomes if _is_plain(outcome)]
    replaced = replaced_outcomes(plain)
    grouped = _grouped(outcome for outcome in plain if outcome.seq not in replaced)
    alike = frozenset(
        name for name, values in grouped.items() if len(values) >= GROUP_MIN and len(set(values)) == 1
    )
    return replace(recent, groups=_means(grouped), of_turn=True, alike=alike)


def baselines_to_json(baselines: Baselines) -> dict[str, Any]:
    """Baselines as JSON values, for the turn row."""
    values = {"usual": baselines.usual, "groups": dict(sorted(baselines.groups.items()))}
    return {**values, "of_turn": True} if baselines.of_turn else values


def baselines_from_json(values: Mapping[str, Any]) -> Baselines:
    """Baselines back from the turn row, without what planning alone knows."""
    return Baselines(
        usual=float(values.get("usual", 0.0)),
        groups=values.get("groups", {}),
        of_turn=values.get("of_turn") is True,
    )


def _is_plain(outcome: KeptEvent) -> bool:
    return outcome.event.kind is Kind.OUTCOME and outcome.event.amends is None


def _about(outcome: KeptEvent) -> tuple[str, str, str | None]:
    return outcome.event.source, outcome.event.author, outcome.event.interaction


def _value(outcome: KeptEvent) -> float:
    return float(outcome.event.data["value"])


def _grouped(outcomes: Iterable[KeptEvent]) -> dict[str, list[float]]:
    values_by_group: dict[str, list[float]] = defaultdict(list)
    for outcome in outcomes:
        if (group := group_of(outcome.event)) is not None:
            values_by_group[group].append(_value(outcome))
    return values_by_group


def _means(grouped: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {group: _mean(values) for group, values in grouped.items() if len(values) >= GROUP_MIN}


def _mean(values: Sequence[float]) -> float:
    """The mean; of equal values exactly this value, so that none of them seems better than the others."""
    if not values:
        return 0.0
    return values[0] if len(set(values)) == 1 else sum(values) / len(values)
