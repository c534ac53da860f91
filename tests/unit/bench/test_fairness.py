"""Shares and evenness, against what they are defined as; and the scheduler held to them in virtual time."""

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.fairness import jain, max_min_share
from bench.sharing import share
from rewards.episode import Episode

DEMANDS = st.dictionaries(st.text("abcdef", min_size=1, max_size=2), st.integers(0, 10**6), min_size=1)


@settings(deadline=None)  # a busy machine is no fault of the code
@given(DEMANDS, st.integers(0, 10**6))
def test_nobody_could_get_more_without_somebody_who_has_less_getting_less(demand, capacity):
    fair = max_min_share(demand, capacity)
    assert math.isclose(sum(fair.values()), min(capacity, sum(demand.values())), rel_tol=1e-9, abs_tol=1e-6)
    most = max(fair.values())
    for name, wanted in demand.items():
        assert fair[name] <= wanted
        assert math.isclose(fair[name], wanted) or fair[name] >= most * (1 - 1e-9)


def test_evenness_is_one_for_all_and_one_nth_for_one():
    assert jain([3.0] * 5) == pytest.approx(1.0)
    assert jain([7.0, 0.0, 0.0, 0.0]) == pytest.approx(0.25)


def counting(work: Mapping[str, Sequence[Episode]]) -> dict[str, int]:
    """Trains nobody; every event is 40 tokens."""
    return {agent: 40 * len(episodes) for agent, episodes in work.items()}


@pytest.mark.parametrize("load", [0.8, 1.25])
def test_who_sends_half_of_all_feedback_gets_no_more_than_its_share(load):
    agents = [f"agent-{number:03d}" for number in range(300)]
    shared = share(counting, agents, load=load, virtual_s=300.0, seed=1)
    assert shared.jain_fair_share >= 0.75  # where its oldest feedback wins, it gets ten times its share
    assert shared.busiest_of_its_share <= 1.5
    if load < 1.0:
        assert shared.jain_fair_share >= 0.95
        assert shared.oldest_wait_s_max <= 2 * 60.0
