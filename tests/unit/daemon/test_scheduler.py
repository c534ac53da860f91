"""Who is due, and whose turn it is."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.scheduler import FairShare, Freshness, due, evidence_needed
from ledger.backlog import Backlog

FRESHNESS = Freshness(events_min=16, age_s_max=100.0, alpha=0.05)


def a_backlog(agent: str = "billing", **changes) -> Backlog:
    values = {
        "agent": agent,
        "champion": 0,
        "untaught": 20,
        "oldest_age_s": 1.0,
        "gate_new": 9,
        "refusals": 0,
        "news": True,
        "has_candidate": False,
    }
    return Backlog(**{**values, **changes})


def test_enough_feedback_and_enough_evidence_make_an_agent_due():
    assert due([a_backlog()], FRESHNESS)


@pytest.mark.parametrize(
    "missing",
    [{"untaught": 15}, {"gate_new": 6}, {"has_candidate": True}, {"news": False}, {"untaught": 0}],
)
def test_an_agent_waits_while_something_is_missing(missing):
    assert not due([a_backlog(**missing)], FRESHNESS)


@pytest.mark.parametrize("scarce", [{"untaught": 1}, {"gate_new": 0}])
def test_an_old_event_makes_an_agent_due_with_little(scarce):
    assert due([a_backlog(oldest_age_s=100.0, **scarce)], FRESHNESS)


@pytest.mark.parametrize("blocked", [{"news": False}, {"has_candidate": True}])
def test_age_overrules_neither_an_open_candidate_nor_a_refusal_without_news(blocked):
    assert not due([a_backlog(oldest_age_s=1e6, **blocked)], FRESHNESS)


@pytest.mark.parametrize(("refusals", "needed"), [(0, 7), (1, 8), (2, 9)])
def test_every_refusal_asks_for_more_evidence(refusals, needed):
    assert evidence_needed(refusals, alpha=0.05) == needed


def test_evidence_needed_can_decide_the_sign_test():
    for refusals in range(10):
        wins = evidence_needed(refusals, alpha=0.05) - 1
        tries = refusals + 1
        assert 0.5**wins <= 0.05 / (tries * (tries + 1))


def test_the_overdue_come_before_the_thrifty():
    share = FairShare(account={"busy": 1e9, "thrifty": 0.0})
    waiting = [a_backlog("thrifty"), a_backlog("busy", oldest_age_s=500.0)]
    assert share.choose(waiting, slots=1, age_s_max=100.0) == ["busy"]


def test_where_everybody_is_overdue_the_oldest_feedback_does_not_win():
    """Who sends more than its share always has the oldest: it must not push the others aside with that."""
    share = FairShare()
    waiting = [a_backlog("floods", oldest_age_s=900.0), a_backlog("a"), a_backlog("b")]
    overdue = [waiting[0], *(replace(one, oldest_age_s=100.0) for one in waiting[1:])]
    turns = []
    for _ in range(30):
        [agent] = share.choose(overdue, slots=1, age_s_max=100.0)
        share.charge(agent, tokens=1000 if agent == "floods" else 100, weight=1.0)
        turns.append(agent)
    assert turns.count("floods") <= 3


def test_idleness_is_not_saved_up():
    share = FairShare()
    both = [a_backlog("early"), a_backlog("late")]
    for _ in range(10):
        [agent] = share.choose([both[0]], slots=1, age_s_max=math.inf)
        share.charge(agent, tokens=1000, weight=1.0)
    turns = []
    for _ in range(10):
        [agent] = share.choose(both, slots=1, age_s_max=math.inf)
        share.charge(agent, tokens=1000, weight=1.0)
        turns.append(agent)
    assert turns.count("late") <= 6


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(100, 10_000), st.sampled_from([0.5, 1.0, 2.0, 4.0])), min_size=2, max_size=6
    ),
    st.integers(1, 3),
)
def test_tokens_are_shared_by_weight_whatever_the_turns_cost(agents, slots):
    share = FairShare()
    received = [0] * len(agents)
    waiting = [a_backlog(str(number)) for number in range(len(agents))]
    for _ in range(600):
        for name in share.choose(waiting, slots=min(slots, len(agents) - 1), age_s_max=math.inf):
            cost, weight = agents[int(name)]
            received[int(name)] += cost
            share.charge(name, tokens=cost, weight=weight)
    accounts = [tokens / weight for tokens, (_, weight) in zip(received, agents, strict=True)]
    largest_turn = max(cost / weight for cost, weight in agents)
    if slots == 1:
        assert max(accounts) - min(accounts) <= 2 * largest_turn
    assert min(accounts) > 0
