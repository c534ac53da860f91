"""Giving up on interactions that never come, but only once everything that could have been one was read.

Feedback may be hours ahead of the interactions: intake was down, or that topic is slower. So the limit runs
against what Kafka held of the interactions when it was over, not against the clock alone.
"""

import time
from collections.abc import Callable, Mapping

import structlog
from opentelemetry import metrics

from feedback.counters import start_at_zero
from feedback.placement import IntakeOptions
from feedback.source import Source
from feedback.topic_ids import TopicIds
from ledger.database import Database, now_s
from ledger.intake import transaction, waiting

log = structlog.get_logger(__name__)
_orphans = metrics.get_meter("feedback").create_counter("clorad.feedback.orphans", unit="{event}")

LOOK_EVERY_S = 10.0


class Orphans:
    """Called often, looks rarely. Any number of processes may: each event is given up once."""

    def __init__(
        self,
        database: Database,
        incarnations: TopicIds,
        options: IntakeOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._incarnations = incarnations
        self._topic = options.topics.interactions
        self._dead_letter_topic = options.topics.dead_letters
        self._wait_s_max = options.join_s_max
        self._clock = clock
        self._next_s = 0.0
        self._asked: tuple[float, Mapping[int, int]] | None = None
        start_at_zero(_orphans)

    def give_up(self, source: Source) -> None:
        """Feedback that waited too long is dead letters.

        Raises kafka-python's errors and `LedgerUnavailable`; nothing was changed then.
        """
        if self._clock() < self._next_s:
            return
        self._next_s = self._clock() + min(LOOK_EVERY_S, self._wait_s_max / 4)
        with self._database.read() as connection:
            standing, now = waiting.waiting_state(connection), now_s(connection)
        if standing.records > standing.waiting:
            waiting.forget_joined(self._database)
        if standing.oldest_s is None or now - standing.oldest_s <= self._wait_s_max:
            self._asked = None
            return
        read_s = self._all_read_s(source, now)
        if read_s is None:
            return
        given_up = waiting.give_up(
            self._database,
            kept_before_s=read_s - self._wait_s_max,
            dead_letter_topic=self._dead_letter_topic,
        )
        if given_up:
            _orphans.add(given_up)
            log.warning("feedback given up, its interactions never came", events=given_up)
            self._next_s = 0.0  # there may be more than one transaction takes

    def _all_read_s(self, source: Source, now: float) -> float | None:
        """A moment of which all interactions that Kafka had then are kept; None until there is one."""
        if not self._incarnations.knows(self._topic):
            return None
        if self._asked is None:
            self._asked = (now, source.ends(self._topic))
        asked_s, ends = self._asked
        topic_id = self._incarnations.topic_id(self._topic)
        kept = transaction.next_offsets(self._database, topic_id)
        if any(kept.get(number, 0) < end for number, end in ends.items()):
            return None
        self._asked = None
        return asked_s
