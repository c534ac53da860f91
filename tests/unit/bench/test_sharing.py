"""The scheduler gives fair shares of training time, in virtual time."""

from collections.abc import Mapping, Sequence

import pytest

from bench.sharing import share
from rewards.episode import Episode


def train_nothing(work: Mapping[str, Sequence[Episode]]) -> dict[str, int]:
    """A pass that trains nothing; every event counts as 40 tokens."""
    return {agent: 40 * len(episodes) for agent, episodes in work.items()}


@pytest.mark.parametrize("load", [0.8, 1.25])
def test_the_agent_with_half_of_all_feedback_gets_no_more_than_its_share(load: float) -> None:
    agents = [f"agent-{number:03d}" for number in range(300)]
    shared = share(train_nothing, agents, load=load, virtual_s=300.0, seed=1)
    # Above the capacity an agent whose feedback is overdue may get ten times its share.
    assert shared.jain_fair_share >= 0.75
    assert shared.busiest_of_its_share <= 1.5
    if load < 1.0:
        assert shared.jain_fair_share >= 0.95
        assert shared.oldest_wait_s_max <= 2 * 60.0
