"""Makes dead letters of feedback whose interaction never arrived, after every interaction in Kafka was read.

Feedback may be hours ahead of the interactions: intake was down, or it reads that topic more slowly. So when
the time is over, intake first stores all interactions that Kafka has then.
"""

import time
from collections.abc import Callable, Mapping

import structlog
from opentelemetry import metrics

from feedback.counters import start_at_zero
from feedback.intake_options import IntakeOptions
from feedback.source import Source
from feedback.topic_ids import TopicIds
from ledger.database import Database, now_s
from ledger.intake import transaction, waiting

log = structlog.get_logger(__name__)
_orphans = metrics.get_meter("feedback").create_counter(
    "clorad.feedback.orphans",
    unit="{event}",
    description="feedback that became a dead letter because its interaction did not arrive",
)

CHECK_EVERY_S = 10.0


class Orphans:
    """May be called often, and checks rarely. Several processes may do so: each event is given up once."""

    def __init__(
        self,
        database: Database,
        topic_ids: TopicIds,
        options: IntakeOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._topic_ids = topic_ids
        self._topic = options.topics.interactions
        self._dead_letter_topic = options.topics.dead_letters
        self._wait_s_max = options.join_s_max
        self._clock = clock
        self._next_s = 0.0
        self._to_read: tuple[float, Mapping[int, int]] | None = None  # a moment, and the end offsets then
        start_at_zero(_orphans)

    def give_up(self, source: Source) -> None:
        """Make dead letters of feedback that has waited too long.

        Raises kafka-python's errors and `LedgerUnavailable`; nothing is changed then.
        """
        if self._clock() < self._next_s:
            return
        self._next_s = self._clock() + min(CHECK_EVERY_S, self._wait_s_max / 4)
        with self._database.read() as connection:
            state, now = waiting.waiting_state(connection), now_s(connection)
        if state.records > state.waiting:
            waiting.forget_joined(self._database)
        if state.oldest_s is None or now - state.oldest_s <= self._wait_s_max:
            self._to_read = None
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
            self._next_s = 0.0  # there may be more than one transaction gives up

    def _all_read_s(self, source: Source, now: float) -> float | None:
        """A moment such that all interactions that Kafka had then are stored; None until there is one."""
        if not self._topic_ids.knows(self._topic):
            return None
        if self._to_read is None:
            self._to_read = (now, source.ends(self._topic))
        moment_s, ends = self._to_read
        topic_id = self._topic_ids.topic_id(self._topic)
        kept = transaction.next_offsets(self._database, topic_id)
        if any(kept.get(number, 0) < end for number, end in ends.items()):
            return None
        self._to_read = None
        return moment_s
