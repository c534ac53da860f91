"""Baselines: the mean of an agent's recent outcomes, which is subtracted from its next outcomes."""

from collections.abc import Iterable, Mapping
from typing import Any

from ledger.events import KeptEvent, Kind

_GROUP_MIN = 2  # one outcome would be its own baseline


def mean_outcomes(outcomes: Iterable[KeptEvent], *, last: int) -> dict[str | None, float]:
    """Means of the `last` outcomes by event time: the agent's under None, and one for each prompt group.

    A group needs two outcomes among them. Outcomes that amend an event do not count. The turn's row stores
    these means.
    """
    outcomes_by_time = [
        outcome for outcome in outcomes if outcome.event.kind is Kind.OUTCOME and outcome.event.amends is None
    ]
    outcomes_by_time.sort(key=lambda outcome: (outcome.event.occurred_s or outcome.received_s, outcome.seq))
    groups: dict[str | None, list[float]] = {None: []}
    for outcome in outcomes_by_time[-last:]:
        value = float(outcome.event.data["value"])
        groups[None].append(value)
        if outcome.event.prompt_group is not None:
            groups.setdefault(outcome.event.prompt_group, []).append(value)
    return {
        group: sum(values) / len(values) if values else 0.0
        for group, values in groups.items()
        if group is None or len(values) >= _GROUP_MIN
    }


def baselines_to_json(baselines: Mapping[str | None, float]) -> dict[str, Any]:
    """Baselines as JSON values, for the turn row."""
    groups = {group: value for group, value in sorted(baselines.items(), key=str) if group is not None}
    return {"usual": baselines.get(None, 0.0), "groups": groups}


def baselines_from_json(values: Mapping[str, Any]) -> dict[str | None, float]:
    """Baselines back from the turn row."""
    return {None: float(values.get("usual", 0.0)), **values.get("groups", {})}
