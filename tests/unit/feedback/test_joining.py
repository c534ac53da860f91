"""A join that outlasts a poll is neither forgotten nor begun again; row 19 sees it on a real broker."""

import asyncio
from types import SimpleNamespace

import pytest

from feedback.kafka_patches import see_joins_through


class Coordinator:
    """As much of kafka-python's as decides about joins."""

    def __init__(self) -> None:
        self.rejoining = False
        self.topic_has_changed = False
        self.begun = 0
        self._generation = object()

    def need_rejoin(self) -> bool:
        return self.topic_has_changed

    async def _do_join_and_sync_async(self) -> bytes:
        self.begun += 1
        self._generation = object()
        self.topic_has_changed = False  # a leader has assigned what is there now
        return b"assignment %d" % self.begun


@pytest.fixture
def coordinator() -> Coordinator:
    """Of a leader that joins again, in the poll that begins it."""
    made = Coordinator()
    see_joins_through(SimpleNamespace(_coordinator=made))
    made.topic_has_changed = True
    assert made.need_rejoin()
    made.rejoining = True
    return made


def join(coordinator: Coordinator) -> bytes:
    return asyncio.run(coordinator._do_join_and_sync_async())


def test_a_join_under_way_is_needed_though_its_reason_is_gone(coordinator):
    join(coordinator)
    assert not coordinator.topic_has_changed
    assert coordinator.need_rejoin()


def test_a_join_that_ended_between_two_polls_is_taken_up(coordinator):
    assert join(coordinator) == b"assignment 1"
    assert coordinator.need_rejoin()
    assert join(coordinator) == join(coordinator) == b"assignment 1"
    assert coordinator.begun == 1


def test_after_it_was_taken_up_the_next_one_is_another(coordinator):
    join(coordinator)
    coordinator.rejoining = False
    assert not coordinator.need_rejoin()
    coordinator.rejoining = True
    assert join(coordinator) == b"assignment 2"


def test_who_has_lost_its_membership_meanwhile_begins_anew(coordinator):
    join(coordinator)
    coordinator._generation = object()
    assert join(coordinator) == b"assignment 2"


def test_a_join_that_fails_is_begun_again(coordinator):
    async def refused() -> bytes:
        raise TimeoutError

    taken_up = coordinator._do_join_and_sync_async.__self__
    join_before, taken_up._join = taken_up._join, refused
    with pytest.raises(TimeoutError):
        join(coordinator)
    taken_up._join = join_before
    assert join(coordinator) == b"assignment 1"
