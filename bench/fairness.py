"""Who should have got how much, and how even what they got was."""

from collections.abc import Mapping, Sequence


def max_min_share(demand: Mapping[str, float], capacity: float) -> dict[str, float]:
    """What each would get if nobody could get more without somebody who has less getting less still.

    Water-filling over equal weights (Bertsekas & Gallager, Data Networks, 6.5.2). All in one unit, tokens
    for example; nobody gets more than was asked for.
    """
    share: dict[str, float] = {}
    left = capacity
    for place, (name, wanted) in enumerate(sorted(demand.items(), key=lambda item: item[1])):
        share[name] = min(wanted, left / (len(demand) - place))
        left -= share[name]
    return share


def jain(values: Sequence[float]) -> float:
    """1 where all values are alike, 1/n where one has everything (Jain, Chiu & Hawe 1984)."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0
