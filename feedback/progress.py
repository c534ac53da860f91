"""Finds partitions whose position stays the same although they have unread records.

An open transaction may hide these records.
"""

from collections.abc import Mapping

from kafka import TopicPartition


class Progress:
    """Remembers when each partition last moved or had nothing to read, by a monotonic clock."""

    def __init__(self, *, still_s_max: float) -> None:
        self._still_s_max = still_s_max
        self._fine: dict[TopicPartition, tuple[int, float]] = {}  # offset, and since when all was well

    def standing_still(
        self, positions: Mapping[TopicPartition, int], lag: Mapping[TopicPartition, int], now_s: float
    ) -> frozenset[TopicPartition]:
        """Partitions that have been behind, and at the same offset, for longer than `still_s_max`."""
        before, self._fine = self._fine, {}
        for partition, offset in positions.items():
            last_offset, since_s = before.get(partition, (offset, now_s))
            is_fine = last_offset != offset or lag.get(partition, 0) == 0
            self._fine[partition] = (offset, now_s if is_fine else since_s)
        return frozenset(
            partition for partition, (_, since_s) in self._fine.items() if now_s - since_s > self._still_s_max
        )
