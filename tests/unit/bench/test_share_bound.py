"""The bounds of counted shares."""

import pytest

from bench.share_bound import bound_95, lower_bound_95


@pytest.mark.parametrize(
    ("promoted", "tried", "bound"), [(0, 120, 0.0247), (0, 1, 0.95), (1, 20, 0.2161), (5, 5, 1.0)]
)
def test_the_bound_is_that_of_clopper_and_pearson(promoted: int, tried: int, bound: float) -> None:
    assert bound_95(promoted, tried) == pytest.approx(bound, abs=1e-4)


def test_the_lower_bound_is_the_upper_bound_of_the_others() -> None:
    assert lower_bound_95(50, 50) == pytest.approx(0.05 ** (1 / 50))
    assert lower_bound_95(0, 10) == 0.0
    assert lower_bound_95(0, 0) == 0.0
