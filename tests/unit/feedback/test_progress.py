"""A partition that is behind and does not move is noticed; one that waits for nothing, or moves, is not."""

from kafka import TopicPartition

from feedback.progress import Progress

A, B = TopicPartition("t", 0), TopicPartition("t", 1)


def test_only_what_is_behind_and_does_not_move_stands_still() -> None:
    progress = Progress(still_s_max=10.0)
    assert progress.standing_still({A: 5, B: 5}, {A: 3, B: 0}, 0.0) == frozenset()
    assert progress.standing_still({A: 5, B: 5}, {A: 3, B: 0}, 9.0) == frozenset()
    assert progress.standing_still({A: 5, B: 5}, {A: 9, B: 0}, 11.0) == {A}
    assert progress.standing_still({A: 6, B: 5}, {A: 8, B: 0}, 12.0) == frozenset()
    assert progress.standing_still({A: 6, B: 5}, {A: 8, B: 0}, 22.0) == frozenset()
    assert progress.standing_still({A: 6, B: 5}, {A: 8, B: 2}, 23.0) == {A}


def test_a_partition_given_away_is_forgotten() -> None:
    progress = Progress(still_s_max=10.0)
    progress.standing_still({A: 5}, {A: 3}, 0.0)
    progress.standing_still({}, {}, 5.0)
    assert progress.standing_still({A: 5}, {A: 3}, 11.0) == frozenset()
