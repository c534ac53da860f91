"""A consumer's way into its group, seen through: kafka-python 3.0.12 loses joins that outlast a poll.

It forgets why a leader joins again once it has assigned anew, and throws away a join that ended between two
polls. Either way the member is out of its group, without a heartbeat and without knowing.
"""

from typing import Any


def see_joins_through(consumer: Any) -> None:
    """From now on a join that was begun goes on with the next poll, and one that has ended is taken up."""
    _Joins(consumer._coordinator)


class _Joins:
    """Between kafka-python's coordinator and two of its own methods."""

    def __init__(self, coordinator: Any) -> None:
        self._coordinator = coordinator
        self._is_needed, self._join = coordinator.need_rejoin, coordinator._do_join_and_sync_async
        self._ended: tuple[Any, Any] | None = None  # generation and assignment that nobody has taken up yet
        coordinator.need_rejoin = self.is_needed
        coordinator._do_join_and_sync_async = self.join

    def is_needed(self) -> bool:
        """Also while a join is under way, as Java's consumer has it."""
        under_way = bool(self._coordinator.rejoining)
        if not under_way:
            self._ended = None  # it was taken up
        return bool(self._is_needed()) or under_way

    async def join(self) -> Any:
        """The assignment: of the join before, where that has ended unseen and we still are who joined."""
        if self._ended is None or self._ended[0] is not self._coordinator._generation:
            self._ended = None
            assignment = await self._join()
            self._ended = (self._coordinator._generation, assignment)
        return self._ended[1]
