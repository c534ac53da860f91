"""Simulated streams of outcomes: improved candidates are promoted, shuffled rewards are not."""

from pathlib import Path

import pytest

from bench.outcome_streams import IMPROVED, SHUFFLED, options_of, simulate_outcomes
from bench.outcomes import false_promotions_bound, run


def test_shuffled_rewards_use_all_tries_and_promote_nobody() -> None:
    stream = simulate_outcomes(SHUFFLED, 1, share=0.5, options=options_of(100), look_every=20)
    assert (stream.promoted, stream.tries) == (False, 3)
    assert stream.reason.startswith("inconclusive outcomes after 100 conversations")


@pytest.mark.parametrize("share", [0.5, 0.05])
def test_an_improved_candidate_is_promoted_at_once_or_by_steps(share: float) -> None:
    stream = simulate_outcomes(IMPROVED, 1, share=share, options=options_of(2000), look_every=40)
    assert (stream.promoted, stream.tries) == (True, 1)
    assert 0 < stream.of_canary < stream.conversations


def test_finished_streams_are_not_simulated_again(tmp_path: Path) -> None:
    journal = tmp_path / "outcomes.jsonl"
    size = {"streams": 4, "conversations_max": 60, "look_every": 20}
    first = run(journal, **size)
    lines = journal.read_text()
    assert run(journal, **size) == first
    assert journal.read_text() == lines
    assert first["shuffled_tries"] >= 4
    assert first["improved"]["0.50"]["streams"] == 1


def test_the_bound_of_four_hundred_streams_allows_chance_alone() -> None:
    assert false_promotions_bound(400, 0.05) == pytest.approx(0.0714, abs=1e-4)
