"""Fair shares and the fairness index against their definitions."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.fairness import jain, max_min_share

DEMANDS = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(0, 10**6), min_size=1)


@settings(deadline=None)  # a busy machine is no fault of the code
@given(DEMANDS, st.integers(0, 10**6))
def test_more_for_one_would_mean_less_for_another_who_has_less(demand: dict[str, int], capacity: int) -> None:
    fair = max_min_share(demand, capacity)
    assert math.isclose(sum(fair.values()), min(capacity, sum(demand.values())), rel_tol=1e-9, abs_tol=1e-6)
    most = max(fair.values())
    for name, wanted in demand.items():
        assert fair[name] <= wanted
        assert math.isclose(fair[name], wanted) or fair[name] >= most * (1 - 1e-9)


def test_the_index_is_one_for_equal_shares_and_one_nth_where_one_has_all() -> None:
    assert jain([3.0] * 5) == pytest.approx(1.0)
    assert jain([7.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)
