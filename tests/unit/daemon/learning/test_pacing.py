"""A learner counts the backlogs only when that can tell it something new, and gathers agents for a pass."""

from typing import Any

import pytest

from daemon.learning.pacing import COUNT_AGAIN_S, Pacing, gathering_s
from ledger.learning.backlog import Backlog
from ledger.versions.gate_modes import GateMode

HERE, THERE = (1, 1, 1), (1, 1, 2)


def test_it_counts_once_while_nothing_happens_in_the_ledger() -> None:
    pacing = Pacing()
    assert pacing.should_count(HERE, 0.0)
    assert not pacing.should_count(HERE, COUNT_AGAIN_S - 0.1)
    assert pacing.should_count(THERE, COUNT_AGAIN_S - 0.1)


def test_it_counts_again_after_a_while_because_feedback_becomes_due_by_its_age() -> None:
    pacing = Pacing()
    assert pacing.should_count(HERE, 0.0)
    assert pacing.should_count(HERE, COUNT_AGAIN_S)


def test_the_first_due_agent_waits_for_others_and_is_counted_again_at_once() -> None:
    pacing = Pacing()
    assert pacing.should_count(HERE, 0.0)
    assert not pacing.has_gathered(1, 0.0, gather_s=2.0)
    assert pacing.should_count(HERE, 0.1), "the wait is short"
    assert not pacing.has_gathered(2, 1.9, gather_s=2.0)
    assert pacing.has_gathered(2, 2.0, gather_s=2.0)


def test_the_wait_begins_anew_when_no_agent_is_due_any_more() -> None:
    pacing = Pacing()
    assert not pacing.has_gathered(1, 0.0, gather_s=2.0)
    assert not pacing.has_gathered(0, 1.0, gather_s=2.0)
    assert not pacing.has_gathered(1, 3.0, gather_s=2.0)
    assert pacing.has_gathered(1, 5.0, gather_s=2.0)


def test_without_a_time_to_gather_a_pass_starts_at_once() -> None:
    assert Pacing().has_gathered(1, 0.0, gather_s=0.0)


def a_backlog(agent: str, untaught: int, **changed: Any) -> Backlog:
    usual = {"champion": 0, "oldest_age_s": 1.0, "gate_new": 0, "refusals": 0, "gate": GateMode.OFF}
    return Backlog(agent=agent, untaught=untaught, **{**usual, **changed})


@pytest.mark.parametrize(
    ("others", "wait_s"),
    [
        ([], 0.0),
        ([{"untaught": 0}], 0.0),
        ([{"untaught": 3}], 2.0),
        ([{"untaught": 3, "is_learning": True}], 0.0),
        ([{"untaught": 3, "has_candidate": True}], 0.0),
    ],
)
def test_an_experiment_waits_only_for_others_whose_outcomes_are_coming(
    others: list[dict[str, Any]], wait_s: float
) -> None:
    due = [a_backlog("sum", 16)]
    backlogs = [*due, *(a_backlog(f"other {place}", **other) for place, other in enumerate(others))]
    assert gathering_s(backlogs, due, gather_s=2.0) == wait_s


def test_an_agent_that_users_talk_to_waits_in_any_case() -> None:
    due = [a_backlog("billing", 16, gate=GateMode.CORRECTIONS)]
    assert gathering_s(due, due, gather_s=2.0) == 2.0
