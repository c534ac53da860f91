"""A flood of dead letters opens the breaker, single ones do not, and good looks close it."""

from feedback.breaker import SMALL_POLL_RECORDS, Breaker


def test_it_opens_when_most_of_the_window_was_of_no_use() -> None:
    breaker = Breaker(dead_share_max=0.5)
    assert not breaker.add(100, 100), "too few to tell"
    assert breaker.add(100, 60)
    assert breaker.records_max(500) == SMALL_POLL_RECORDS


def test_what_is_long_past_does_not_count() -> None:
    breaker = Breaker(dead_share_max=0.5, window=300)
    breaker.add(150, 150)
    for _ in range(10):
        assert not breaker.add(150, 0) or not breaker.is_open
    assert breaker.records_max(500) == 500


def test_polls_that_brought_nothing_are_not_remembered() -> None:
    breaker = Breaker(dead_share_max=0.5)
    for _ in range(100):
        assert not breaker.add(0, 0)
    assert not breaker._recent


def test_a_few_dead_letters_never_open_it() -> None:
    breaker = Breaker(dead_share_max=0.5)
    assert not any(breaker.add(100, 40) for _ in range(50))


def test_a_good_look_closes_it_and_a_bad_or_empty_one_does_not() -> None:
    breaker = Breaker(dead_share_max=0.5)
    assert breaker.add(300, 300)
    assert breaker.add(10, 9)
    assert breaker.add(0, 0)
    assert not breaker.add(10, 1)
    assert not breaker.add(100, 100), "it begins to count anew"
