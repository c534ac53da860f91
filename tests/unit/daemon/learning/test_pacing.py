"""A learner counts the backlogs only when that can tell it something new, and gathers agents for a pass."""

from daemon.learning.pacing import COUNT_AGAIN_S, Pacing

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
