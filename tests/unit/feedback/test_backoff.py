"""Waits grow up to their bound."""

from feedback.backoff import Backoff


def test_patience_doubles_up_to_its_bound_and_starts_again() -> None:
    backoff = Backoff(first_s=1.0, s_max=8.0)
    waits = [backoff.next_s() for _ in range(6)]
    assert all(limit / 2 <= wait <= limit for wait, limit in zip(waits, (1, 2, 4, 8, 8, 8), strict=True))
    backoff.reset()
    assert backoff.next_s() <= 1.0
