"""Where reading begins: the ledger's offset, or a policy where the ledger or the log has none.

What cannot go on without a person is halted: paused, loudly, while everything else goes on.
"""

from dataclasses import dataclass, field
from typing import Literal

import structlog
from kafka import TopicPartition
from opentelemetry import metrics

from feedback.connection import Cluster
from feedback.source import SESSION_MS, Source
from feedback.topic_ids import TopicIds
from feedback.topics import Topics
from ledger.database import Database
from ledger.events import Arrival, Batch, Partition, Reason, UnusableRecord
from ledger.facts import restores as restores_of
from ledger.identity import Identity
from ledger.intake import transaction as ledger

log = structlog.get_logger(__name__)
_halts = metrics.get_meter("feedback").create_gauge("clorad.feedback.partitions.halted", unit="{partition}")


class WrongLedger(Exception):
    """The group's offsets were committed for another ledger: two of them would share out the events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeOptions:
    """How intake behaves; the reasons stand with the settings."""

    group: str
    topics: Topics = field(default_factory=Topics)
    instance: str | None = None
    first_start: Literal["committed", "beginning", "end"] = "committed"
    on_gap: Literal["halt", "continue"] = "halt"
    records_max: int = 500
    session_ms: int = SESSION_MS
    still_s_max: float = 120.0
    dead_share_max: float = 0.5
    join_s_max: float = 3600.0
    administrators: frozenset[str] = frozenset()


class Placement:
    """Places partitions, and knows which are halted."""

    def __init__(
        self, cluster: Cluster, database: Database, identity: Identity, options: IntakeOptions
    ) -> None:
        self.halted: dict[TopicPartition, str] = {}
        _halts.set(0)
        self._database = database
        self._identity = identity
        self._options = options
        self._restores: int | None = None  # of the ledger, as last seen
        topics = (options.topics.feedback, options.topics.interactions)
        self.incarnations = TopicIds(cluster, database, topics, accept_new=options.on_gap == "continue")

    def partition(self, place: TopicPartition) -> Partition:
        """The ledger's name for a placed partition."""
        return self.incarnations.partition(place)

    def place(self, source: Source) -> None:
        """Every new partition whose topic is there is placed afterwards; those of another log, anew.

        Raises kafka-python's errors, `LedgerUnavailable`, `WrongLedger`.
        """
        for topic in self.incarnations.check(now=bool(source.new)):
            for place in [place for place in source.at if place.topic == topic]:
                source.misplace(place)
        for place in [place for place in source.new if self.incarnations.knows(place.topic)]:
            if reason := self.incarnations.strange.get(place.topic):
                self.halt(place, reason)
            offset = self._offset(source, place)
            source.place(place, offset)
            log.info("partition placed", topic=place.topic, partition=place.partition, offset=offset)

    def mind_a_restore(self, source: Source) -> None:
        """Where the ledger went back to a backup since we looked, every partition is to be placed anew.

        The ledger would refuse a stale batch, but one that is quiet would stay where it is.
        """
        with self._database.read() as connection:
            restores = restores_of(connection)
        if self._restores not in (None, restores):
            log.error("ledger restored from a backup, reading again from where it stands", restores=restores)
            for place in list(source.at):
                source.misplace(place)
        self._restores = restores

    def halt(self, place: TopicPartition, reason: str) -> None:
        """The partition is not read any more by this process."""
        if place not in self.halted:
            log.error("partition halted", topic=place.topic, partition=place.partition, reason=reason)
        self.halted[place] = reason
        _halts.set(len(self.halted))

    def mind_the_gap(self, source: Source, place: TopicPartition) -> None:
        """The log does not hold our position: halted, or the lost offsets recorded and passed over."""
        first, end = source.bounds(place)
        at = source.at[place]
        if at > end:
            self.halt(place, f"the log ends at {end}, before what was read ({at})")
        elif at >= first:
            source.place(place, at)  # it was a follower that lagged, or retention that raced with us
        elif self._options.on_gap == "halt":
            self.halt(place, f"offsets {at} to {first} were deleted before they were read")
        else:
            self.give_up(source, place, first, arrivals=(), why="deleted before it was read")

    def set_aside(self, source: Source, place: TopicPartition, fault: str) -> None:
        """What cannot be decoded halts the partition, or becomes a dead letter without bytes."""
        at = source.at[place]
        if self._options.on_gap == "halt":
            self.halt(place, f"the record at {at} cannot be decoded: {fault}")
            return
        unusable = UnusableRecord(reason=Reason.POISON, detail=f"not decodable by the client: {fault}")
        letter = Arrival(offset=at, key=None, value=None, headers=(), content=unusable)
        self.give_up(source, place, at + 1, arrivals=(letter,), why="not decodable")

    def give_up(
        self, source: Source, place: TopicPartition, upto: int, *, arrivals: tuple[Arrival, ...], why: str
    ) -> None:
        """Offsets up to `upto` are accounted for as lost, and reading goes on there."""
        at = source.at[place]
        batch = Batch(partition=self.partition(place), start=at, end=upto, arrivals=arrivals, gap=why)
        ledger.keep(self._database, [batch], dead_letter_topic=self._options.topics.dead_letters)
        log.error(
            "offsets given up", topic=place.topic, partition=place.partition, start=at, end=upto, reason=why
        )
        source.place(place, upto)

    def close(self) -> None:
        """No connection is left open."""
        self.incarnations.close()

    def _offset(self, source: Source, place: TopicPartition) -> int:
        committed = source.committed(place)
        if committed is not None and committed[1] not in ("", self._identity.ledger_id):
            raise WrongLedger(
                f"kafka.group {self._options.group} was used by ledger {committed[1]}, and this is ledger "
                f"{self._identity.ledger_id}: give it a group of its own, or the right ledger.url"
            )
        partition = self.partition(place)
        standing = ledger.next_offset(self._database, partition)
        if standing is not None:
            if committed is not None and committed[0] > standing:
                again = committed[0] - standing
                log.warning(
                    "ledger behind its own commits",
                    topic=place.topic,
                    partition=place.partition,
                    offset=standing,
                    reading_again=again,
                )
            return standing
        return ledger.start_at(self._database, partition, self._first_offset(source, place, committed))

    def _first_offset(self, source: Source, place: TopicPartition, committed: tuple[int, str] | None) -> int:
        """Where a partition begins that this ledger has never read."""
        first, end = source.bounds(place)
        if place.topic in self.incarnations.renewed or self._options.first_start == "beginning":
            return first
        if self._options.first_start == "end":
            return end
        # Our own note there means that this ledger was restored from before it: all is to be read again.
        return committed[0] if committed is not None and committed[1] == "" else first
