"""Bounds of a share of which a benchmark counted a few cases (Clopper and Pearson, 1934)."""

from math import comb


def bound_95(counted: int, cases: int) -> float:
    """Upper end of the one-sided 95 % interval of a share, by bisection; 1 where there are no cases."""
    low, high = 0.0, 1.0
    for _ in range(60):
        share = (low + high) / 2
        at_most = sum(comb(cases, k) * share**k * (1 - share) ** (cases - k) for k in range(counted + 1))
        low, high = (share, high) if at_most > 0.05 else (low, share)
    return high if counted < cases else 1.0


def lower_bound_95(counted: int, cases: int) -> float:
    """Lower end of the one-sided 95 % interval of a share; 0 where there are no cases."""
    return 1.0 - bound_95(cases - counted, cases)
