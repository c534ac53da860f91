"""Which partitions stand still although there is more to read: an open transaction may hide it."""

from collections.abc import Mapping

from kafka import TopicPartition


class Progress:
    """Remembers when each partition last moved or had nothing to read, by a monotonic clock."""

    def __init__(self, *, still_s_max: float) -> None:
        self._still_s_max = still_s_max
        self._fine: dict[TopicPartition, tuple[int, float]] = {}

    def standing_still(
        self, at: Mapping[TopicPartition, int], lag: Mapping[TopicPartition, int], now_s: float
    ) -> frozenset[TopicPartition]:
        """Partitions that have been behind, and at the same offset, for too long."""
        before, self._fine = self._fine, {}
        for place, offset in at.items():
            stood_at, since_s = before.get(place, (offset, now_s))
            moved = stood_at != offset or lag.get(place, 0) == 0
            self._fine[place] = (offset, now_s if moved else since_s)
        return frozenset(
            place for place, (_, since_s) in self._fine.items() if now_s - since_s > self._still_s_max
        )
