"""Fair shares of a capacity, and a measure of how even shares are."""

from collections.abc import Mapping, Sequence


def max_min_share(demand: Mapping[str, float], capacity: float) -> dict[str, float]:
    """The max-min fair share of each: nobody can get more unless somebody who has less gets even less.

    Water-filling with equal weights (Bertsekas & Gallager, Data Networks, 6.5.2). Demand, capacity and shares
    have one unit, for example tokens. No share is larger than its demand.
    """
    share: dict[str, float] = {}
    left = capacity
    for place, (name, wanted) in enumerate(sorted(demand.items(), key=lambda item: item[1])):
        share[name] = min(wanted, left / (len(demand) - place))
        left -= share[name]
    return share


def jain(values: Sequence[float]) -> float:
    """Jain's index: 1 where all values are equal, 1/n where one has everything (Jain, Chiu & Hawe 1984)."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0
