"""The numbers of a scorer of the user's own are checked."""

import pytest

from serving.scoring.own import NoScore, checked


def test_numbers_between_0_and_1_are_taken() -> None:
    assert checked([0, 0.5, 1.0, True], 4) == (0.0, 0.5, 1.0, 1.0)


@pytest.mark.parametrize(
    ("numbers", "why"),
    [
        ([1.0], "no list of 2"),
        ([1.0, 1.0, 1.0], "no list of 2"),
        ("11", "no list of 2"),
        ({"a": 1, "b": 1}, "no list of 2"),
        (None, "no list of 2"),
        ([1.0, "1"], "something else than numbers"),
        ([1.0, None], "something else than numbers"),
        ([1.0, float("nan")], "outside 0 to 1"),
        ([1.0, float("inf")], "outside 0 to 1"),
        ([1.0, 2.0], "outside 0 to 1"),
        ([-0.1, 1.0], "outside 0 to 1"),
        ([10**400, 1.0], "outside 0 to 1"),
    ],
)
def test_anything_else_is_no_score(numbers: object, why: str) -> None:
    with pytest.raises(NoScore, match=why):
        checked(numbers, 2)
