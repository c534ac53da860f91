"""A client tries again a bounded number of times, for a bounded time, and not before it was asked to."""

from feedback.sending.attempts import Attempts, SendAgain

FAULT = SendAgain("status 503")


def test_the_waits_grow_and_differ_between_clients() -> None:
    waits = [Attempts(600.0, clock_s=lambda: 0.0) for _ in range(20)]
    first = [attempts.wait_s(FAULT) for attempts in waits]
    fourth = [[attempts.wait_s(FAULT) for _ in range(3)][-1] for attempts in waits]
    assert all(wait is not None and 0.1 <= wait <= 0.2 for wait in first)
    assert all(wait is not None and 0.8 <= wait <= 1.6 for wait in fourth)
    assert len(set(first)) > 10


def test_no_more_tries_are_made_than_may() -> None:
    attempts = Attempts(600.0, tries_max=3, clock_s=lambda: 0.0)
    assert [attempts.wait_s(FAULT) is None for _ in range(3)] == [False, False, True]


def test_the_receiver_is_not_asked_before_the_time_that_it_named() -> None:
    wait_s = Attempts(60.0, clock_s=lambda: 0.0).wait_s(SendAgain("status 429", retry_after_s=7.0))
    assert wait_s is not None
    assert 7.0 < wait_s < 7.3


def test_a_wait_that_ends_too_late_is_not_begun() -> None:
    now_s = 0.0
    attempts = Attempts(10.0, clock_s=lambda: now_s)
    assert attempts.wait_s(SendAgain("status 503", retry_after_s=11.0)) is None
    now_s = 9.9
    assert attempts.wait_s(FAULT) is None
    now_s = 11.0
    assert attempts.left_s == 0.0
