"""The intake: poll, read, keep in one transaction, and only then poll on. One loop, one thread.

The ledger's offsets are the truth and Kafka's commits a hint, so a kill anywhere changes nothing. What is
wrong with a record makes a dead letter of it; what is wrong with the world makes the loop wait, its
partitions paused, while it keeps polling so that the group keeps it.
"""

import time
from collections.abc import Callable
from threading import Event
from typing import Protocol

import structlog
from kafka import TopicPartition, errors

from feedback import metrics
from feedback.backoff import Backoff
from feedback.breaker import NOT_DEPLOYED, Breaker
from feedback.connection import Cluster, is_passing
from feedback.kafka_security import fault_reason
from feedback.orphans import Orphans
from feedback.placement import IntakeOptions, Placement
from feedback.progress import Progress
from feedback.reading import Reader, received_s
from feedback.source import POLL_INTERVAL_MS_MAX, LogTruncated, OutOfRange, PolledBatch, Source, Undecodable
from feedback.watchdog import Watchdog
from ledger.database import Database
from ledger.errors import LedgerUnavailable, MovedOn
from ledger.events import Batch
from ledger.identity import Identity
from ledger.intake import transaction as ledger

log = structlog.get_logger(__name__)

POLL_MS = 500
UNPLACED_POLL_MS = 100  # the first assignment must not wait for the second poll
TELL_EVERY_S = 1.0
FULL_REST_S = 1.0
BREAK_S = 30.0  # between looks while most records are of no use
SILENT_S = 20.0  # heartbeats, fetches and commits are answered sooner
ANEW_S = 120.0  # brokers may all have moved: kafka-python looks up their names only when it is made
HANG_S = 2 * POLL_INTERVAL_MS_MAX / 1000  # by then the group has given our partitions to others


class _Spent(Exception):
    """The consumer may not be polled again; a new one goes on where the ledger stands."""


class Fenced(Exception):
    """Another process has our `group.instance.id` (KIP-345). Going on would only fence it in turn."""


class Watch(Protocol):
    """Where the loop says how it is."""

    def ready(self, name: str, ok: bool, why: str = "") -> None:
        """One thing intake needs is there, or not."""

    def alive(self, name: str) -> None:
        """The loop came round."""


class Intake:
    """Moves records from Kafka into the ledger until told to stop.

    `full` says why nothing may be taken in just now, if so; `reached` is told where a test may kill us.
    """

    def __init__(
        self,
        cluster: Cluster,
        database: Database,
        identity: Identity,
        reader: Reader,
        options: IntakeOptions,
        *,
        watch: Watch,
        full: Callable[[], str] = lambda: "",
        reached: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._cluster = cluster
        self._database = database
        self._identity = identity
        self._reader = reader
        self._options = options
        self._administrators = frozenset(map(reader.known_as, options.administrators))
        self._watch = watch
        self._full = full
        self._reached = reached
        self._placement = Placement(cluster, database, identity, options)
        self._orphans = Orphans(database, self._placement.incarnations, options)
        self._breaker = Breaker(dead_share_max=options.dead_share_max)
        self._progress = Progress(still_s_max=options.still_s_max)
        self._watchdog = Watchdog(silent_s_max=HANG_S)
        self._backoff = Backoff(s_max=5.0)  # with Kafka
        self._patience = Backoff(s_max=10.0)  # with the ledger
        self._rest_until_s = 0.0  # nothing is read before then
        self._next_tell_s = 0.0
        self._suspects: set[TopicPartition] = set()  # one of them holds what cannot be decoded

    def run(self, stopping: Event) -> None:
        """Until told to stop. Raises `WrongLedger` and `Fenced`: a person has to look."""
        try:
            with self._watchdog:
                self._run(stopping)
        except errors.FencedInstanceIdError:
            raise Fenced(f"another process runs with kafka.instance_id {self._options.instance}") from None
        finally:
            self._placement.close()

    def _run(self, stopping: Event) -> None:
        metrics.begin()
        while not stopping.is_set():
            try:
                source = self._source()
            except (errors.KafkaError, OSError) as fault:
                self._wait_for_kafka(fault, stopping)
            else:
                self._read(source, stopping)

    def _source(self) -> Source:
        own = self._options
        topics = (own.topics.feedback, own.topics.interactions)
        return Source(
            self._cluster, topics, group=own.group, instance=own.instance, session_ms=own.session_ms
        )

    def _read(self, source: Source, stopping: Event) -> None:
        """Take in from one consumer, until told to stop or it has to be made anew."""
        heard_s = time.monotonic()
        try:
            while not stopping.is_set():
                if self._come_round(source, stopping) and source.silent_s() < SILENT_S:
                    heard_s = time.monotonic()
                elif time.monotonic() - heard_s > ANEW_S:
                    self._placement.close()
                    return
            source.hint_and_wait(self._identity.ledger_id)
        except _Spent:
            self._backoff.wait(stopping)
        finally:
            source.close()

    def _come_round(self, source: Source, stopping: Event) -> bool:
        """One round, and what the world had against it. False where it was Kafka."""
        try:
            self._step(source)
            self._backoff.reset()
        except LedgerUnavailable as fault:
            source.go_back()
            self._watch.ready("ledger", False, str(fault))
            self._rest(self._patience.next_s(), str(fault))
        except (errors.KafkaError, OSError) as fault:
            if not is_passing(fault):
                raise
            self._wait_for_kafka(fault, stopping)
            return False
        return True

    def _step(self, source: Source) -> None:
        """One round: place what is new, poll, keep what came."""
        self._alive()
        self._placement.place(source)
        full = self._full()
        self._watch.ready("room", not full, full)
        if full:
            self._rest(FULL_REST_S, full)
        readable = self._readable(source)
        try:
            polled = source.poll(
                readable,
                wait_ms=POLL_MS if source.at else UNPLACED_POLL_MS,
                records_max=self._breaker.records_max(self._options.records_max),
            )
        except OutOfRange as fault:
            self._placement.mind_the_gap(source, fault.place)
        except LogTruncated as fault:
            for place in fault.places:
                self._placement.halt(place, f"the log was cut below {source.at.get(place)}, read before")
        except Undecodable as fault:
            self._isolate(source, readable, str(fault))
        else:
            if polled:
                self._reached("intake-polled")
                self._keep(source, polled)
            # Fetched alone, and nothing was wrong so far. Not only where nothing is left: one that is always
            # busy would keep all others waiting.
            heard = {one.place for one in polled} or source.lag().keys()
            self._suspects -= readable & heard
            silent = source.silent_s() >= SILENT_S
            self._watch.ready("kafka", not silent, "no broker answers" if silent else "")
        self._tell(source)

    def _readable(self, source: Source) -> frozenset[TopicPartition]:
        if time.monotonic() < self._rest_until_s:
            return frozenset()
        readable = frozenset(source.at) - self._placement.halted.keys()
        suspected = sorted(readable & self._suspects)
        return frozenset(suspected[:1]) or readable  # alone, so that the next complaint is about it

    def _isolate(self, source: Source, readable: frozenset[TopicPartition], fault: str) -> None:
        """kafka-python does not say where it failed: one partition at a time is read until it does again."""
        if len(readable) == 1:
            self._placement.set_aside(source, next(iter(readable)), fault)
            return
        log.warning("record not decodable", error=fault, partitions=len(readable))
        self._suspects |= readable
        raise _Spent

    def _keep(self, source: Source, polled: list[PolledBatch]) -> None:
        """Records, dead letters and offsets are in the ledger afterwards. Raises `LedgerUnavailable`."""
        batches = {one.place: self._batch(one) for one in polled}
        while batches:
            begun_s = time.monotonic()
            try:
                kept = ledger.keep(
                    self._database,
                    list(batches.values()),
                    dead_letter_topic=self._options.topics.dead_letters,
                    administrators=self._administrators,
                    reached=self._reached,
                )
            except MovedOn as moved:
                place = TopicPartition(moved.partition.topic, moved.partition.number)
                log.warning("partition moved on", **place._asdict(), offset=moved.next_offset)
                source.misplace(place)
                del batches[place]
                continue
            self._reached("intake-before-commit")
            for place, batch in batches.items():
                source.at[place] = batch.end
            self._count(kept, polled, time.monotonic() - begun_s)
            self._mind_the_dead(kept)
            return

    def _batch(self, polled: PolledBatch) -> Batch:
        read, now_s = self._reader.read, time.time()
        return Batch(
            partition=self._placement.partition(polled.place),
            start=polled.start,
            end=polled.end,
            arrivals=tuple(
                read(
                    offset=record.offset,
                    key=record.key,
                    value=record.value,
                    headers=tuple(record.headers),
                    received_s=received_s(record.timestamp, now_s),
                )
                for record in polled.records
            ),
        )

    def _count(self, kept: ledger.Kept, polled: list[PolledBatch], took_s: float) -> None:
        metrics.kept(kept, took_s=took_s)
        metrics.redacted(self._reader.redacted)
        self._reader.redacted.clear()
        now_s = time.time()
        metrics.delayed(now_s - received_s(one.records[0].timestamp, now_s) for one in polled if one.records)
        self._watch.ready("ledger", True)
        self._patience.reset()

    def _mind_the_dead(self, kept: ledger.Kept) -> None:
        """Mostly dead letters: rest, so that not all of a bad deployment's events become some."""
        dead = sum(number for reason, number in kept.dead.items() if reason not in NOT_DEPLOYED)
        flooded = self._breaker.note(kept.stored + kept.duplicates + sum(kept.dead.values()), dead)
        self._watch.ready(
            "dead letters", not flooded, "most of what arrives cannot be used" if flooded else ""
        )
        if flooded:
            self._rest(BREAK_S, "dead letters")

    def _tell(self, source: Source) -> None:
        """Where we stand, for Kafka's tools and for meters; once a second."""
        if time.monotonic() < self._next_tell_s:
            return
        self._next_tell_s = time.monotonic() + TELL_EVERY_S
        self._placement.mind_a_restore(source)
        if time.monotonic() >= self._rest_until_s:  # it answers, and nothing waits that it would not keep
            self._watch.ready("ledger", True)
        self._orphans.give_up(source)
        source.hint(self._identity.ledger_id)
        behind = source.lag()
        metrics.behind(behind)
        still = self._progress.standing_still(source.at, behind, time.monotonic())
        still -= self._placement.halted.keys()
        self._watch.ready("progress", not still, f"{len(still)} partitions stand still" if still else "")
        halted = sorted({place.topic for place in self._placement.halted})
        self._watch.ready("partitions", not halted, f"halted in {', '.join(halted)}" if halted else "")

    def _rest(self, rest_s: float, why: str) -> None:
        """Nothing is read for a while, and membership kept."""
        self._rest_until_s = time.monotonic() + rest_s
        log.warning("intake rests", rest_s=round(rest_s, 1), why=why)

    def _alive(self) -> None:
        self._watch.alive("intake")
        self._watchdog.alive()

    def _wait_for_kafka(self, fault: BaseException, stopping: Event) -> None:
        self._alive()
        self._watch.ready("kafka", False, fault_reason(fault))
        log.warning("kafka away", error=fault_reason(fault))
        self._backoff.wait(stopping)
