"""What outcomes usually are: the zero point an agent's next outcomes are measured from."""

from collections.abc import Iterable, Mapping
from typing import Any

from ledger.events import KeptEvent, Kind

_GROUP_MIN = 2  # one outcome would be its own baseline


def usual(outcomes: Iterable[KeptEvent], *, last: int) -> dict[str | None, float]:
    """Means of the `last` outcomes by event time: the agent's under None, and one for each prompt group.

    A group needs two outcomes among them. Amending outcomes do not count. Written down with the turn.
    """
    plain = [one for one in outcomes if one.event.kind is Kind.OUTCOME and one.event.amends is None]
    plain.sort(key=lambda one: (one.event.occurred_s or one.received_s, one.seq))
    groups: dict[str | None, list[float]] = {None: []}
    for one in plain[-last:]:
        value = float(one.event.data["value"])
        groups[None].append(value)
        if one.event.prompt_group is not None:
            groups.setdefault(one.event.prompt_group, []).append(value)
    return {
        group: sum(values) / len(values) if values else 0.0
        for group, values in groups.items()
        if group is None or len(values) >= _GROUP_MIN
    }


def frozen(baselines: Mapping[str | None, float]) -> dict[str, Any]:
    """Baselines as JSON values, for the turn row."""
    groups = {group: value for group, value in sorted(baselines.items(), key=str) if group is not None}
    return {"usual": baselines.get(None, 0.0), "groups": groups}


def thawed(values: Mapping[str, Any]) -> dict[str | None, float]:
    """Baselines back from the turn row."""
    return {None: float(values.get("usual", 0.0)), **values.get("groups", {})}
