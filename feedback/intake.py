"""The intake loop, in one thread: poll, read, store in one transaction, and only then poll again.

The ledger's offsets decide and commits to Kafka are a hint, so a kill at any moment loses nothing.
A record that cannot be used becomes a dead letter. When the ledger or Kafka fails, the loop pauses its
partitions and keeps polling, so that the group keeps it as a member.
"""

import time
from collections.abc import Callable
from threading import Event
from typing import Protocol

import structlog
from kafka import TopicPartition, errors

from feedback import metrics
from feedback.backoff import Backoff
from feedback.batch_writer import BatchWriter
from feedback.breaker import NOT_DEPLOYED, Breaker
from feedback.connection import Cluster, is_passing
from feedback.intake_options import IntakeOptions
from feedback.kafka_security import fault_reason
from feedback.orphans import Orphans
from feedback.placement import Placement
from feedback.progress import Progress
from feedback.reading import Reader
from feedback.source import POLL_INTERVAL_MS_MAX, LogTruncated, OutOfRange, PolledBatch, Source, Undecodable
from feedback.watchdog import Watchdog
from ledger.database import Database
from ledger.errors import LedgerUnavailable
from ledger.identity import Identity
from ledger.intake.transaction import Kept

log = structlog.get_logger(__name__)

POLL_MS = 500
UNPLACED_POLL_MS = 100  # the first assignment must not wait for the second poll
REPORT_EVERY_S = 1.0
FULL_REST_S = 1.0
BREAK_S = 30.0  # between small polls while most records cannot be used
SILENT_S = 20.0  # heartbeats, fetches and commits are answered sooner
REBUILD_S = 120.0  # brokers may all have moved: kafka-python looks names up only when it is constructed
HANG_S = 2 * POLL_INTERVAL_MS_MAX / 1000  # by then the group has given this process's partitions to others


class _ConsumerSpent(Exception):
    """The consumer must not be polled again; a new one reads on at the ledger's offsets."""


class Fenced(Exception):
    """Another process has the same `group.instance.id` (KIP-345). Going on would fence that process in
    turn."""


class LoopHealth(Protocol):
    """Takes the reports of a loop."""

    def ready(self, name: str, ok: bool, why: str = "") -> None:
        """Report whether intake has one thing that it needs."""

    def alive(self, name: str) -> None:
        """Report that the loop goes on."""


class Intake:
    """Moves records from Kafka into the ledger until told to stop.

    `full` returns the reason why intake may store nothing now, or an empty text; `reached` is called where a
    test may kill the process.
    """

    def __init__(
        self,
        cluster: Cluster,
        database: Database,
        identity: Identity,
        reader: Reader,
        options: IntakeOptions,
        *,
        health: LoopHealth,
        full: Callable[[], str] = lambda: "",
        reached: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._cluster = cluster
        self._identity = identity
        self._options = options
        self._health = health
        self._full = full
        self._reached = reached
        self._placement = Placement(cluster, database, identity, options)
        self._writer = BatchWriter(database, self._placement, reader, options, reached=reached)
        self._orphans = Orphans(database, self._placement.topic_ids, options)
        self._breaker = Breaker(dead_share_max=options.dead_share_max)
        self._progress = Progress(still_s_max=options.still_s_max)
        self._watchdog = Watchdog(silent_s_max=HANG_S)
        self._kafka_backoff = Backoff(s_max=5.0)
        self._ledger_backoff = Backoff(s_max=10.0)
        self._rest_until_s = 0.0  # nothing is read before then
        self._next_report_s = 0.0
        self._suspects: set[TopicPartition] = set()  # one of them holds a record that cannot be decoded

    def run(self, stopping: Event) -> None:
        """Loop until told to stop. Raises `WrongLedger` and `Fenced`: a person must act."""
        try:
            with self._watchdog:
                self._run(stopping)
        except errors.FencedInstanceIdError:
            raise Fenced(f"another process runs with kafka.instance_id {self._options.instance}") from None
        finally:
            self._placement.close()

    def _run(self, stopping: Event) -> None:
        metrics.start()
        while not stopping.is_set():
            try:
                source = self._build_source()
            except (errors.KafkaError, OSError) as fault:
                self._wait_for_kafka(fault, stopping)
            else:
                self._read(source, stopping)

    def _build_source(self) -> Source:
        options = self._options
        topics = (options.topics.feedback, options.topics.interactions)
        return Source(
            self._cluster,
            topics,
            group=options.group,
            instance=options.instance,
            session_ms=options.session_ms,
        )

    def _read(self, source: Source, stopping: Event) -> None:
        """Read from one consumer until told to stop or it must be built anew."""
        heard_s = time.monotonic()
        try:
            while not stopping.is_set():
                if self._do_round(source, stopping) and source.silent_s() < SILENT_S:
                    heard_s = time.monotonic()
                elif time.monotonic() - heard_s > REBUILD_S:
                    self._placement.close()
                    return
            source.commit_and_wait(self._identity.ledger_id)
        except _ConsumerSpent:
            self._kafka_backoff.wait(stopping)
        finally:
            source.close()

    def _do_round(self, source: Source, stopping: Event) -> bool:
        """One round; wait after a fault of the ledger or of Kafka. Returns False if Kafka failed."""
        try:
            self._place_and_poll(source)
            self._kafka_backoff.reset()
        except LedgerUnavailable as fault:
            source.rewind()
            self._health.ready("ledger", False, str(fault))
            self._rest(self._ledger_backoff.next_s(), str(fault))
        except (errors.KafkaError, OSError) as fault:
            if not is_passing(fault):
                raise
            self._wait_for_kafka(fault, stopping)
            return False
        return True

    def _place_and_poll(self, source: Source) -> None:
        """Place new partitions, poll, keep the records, report."""
        self._report_alive()
        self._placement.place_all(source)
        full = self._full()
        self._health.ready("room", not full, full)
        if full:
            self._rest(FULL_REST_S, full)
        readable = self._readable(source)
        try:
            polled = source.poll(
                readable,
                wait_ms=POLL_MS if source.positions else UNPLACED_POLL_MS,
                records_max=self._breaker.records_max(self._options.records_max),
            )
        except OutOfRange as fault:
            self._placement.resolve_out_of_range(source, fault.partition)
        except LogTruncated as fault:
            for partition in fault.partitions:
                position = source.positions.get(partition)
                self._placement.halt(partition, f"the log was cut below {position}, read before")
        except Undecodable as fault:
            self._isolate(source, readable, str(fault))
        else:
            self._take(source, polled, readable)
        self._report(source)

    def _take(self, source: Source, polled: list[PolledBatch], readable: frozenset[TopicPartition]) -> None:
        if polled:
            self._reached("intake-polled")
            kept = self._writer.write(source, polled)
            if kept is not None:
                self._health.ready("ledger", True)
                self._ledger_backoff.reset()
                self._check_dead_letters(kept)
        # A suspect that was fetched alone without a fault is no suspect any more. Its end need not be
        # reached: a partition that always gets new records would make all others wait.
        fetched = {batch.partition for batch in polled} or source.lag().keys()
        self._suspects -= readable & fetched
        silent = source.silent_s() >= SILENT_S
        self._health.ready("kafka", not silent, "no broker answers" if silent else "")

    def _readable(self, source: Source) -> frozenset[TopicPartition]:
        if time.monotonic() < self._rest_until_s:
            return frozenset()
        readable = frozenset(source.positions) - self._placement.halted.keys()
        suspects = sorted(readable & self._suspects)
        return frozenset(suspects[:1]) or readable  # one alone, so that the next fault is about it

    def _isolate(self, source: Source, readable: frozenset[TopicPartition], fault: str) -> None:
        """Read one partition at a time until one fails again: kafka-python does not say which one failed."""
        if len(readable) == 1:
            self._placement.resolve_undecodable(source, next(iter(readable)), fault)
            return
        log.warning("record not decodable", error=fault, partitions=len(readable))
        self._suspects |= readable
        raise _ConsumerSpent

    def _check_dead_letters(self, kept: Kept) -> None:
        """Rest where most records become dead letters: a bad deployment must not use up all events."""
        dead = sum(count for reason, count in kept.dead.items() if reason not in NOT_DEPLOYED)
        is_open = self._breaker.add(kept.stored + kept.duplicates + sum(kept.dead.values()), dead)
        self._health.ready(
            "dead letters", not is_open, "most of what arrives cannot be used" if is_open else ""
        )
        if is_open:
            self._rest(BREAK_S, "dead letters")

    def _report(self, source: Source) -> None:
        """Once a second: commit positions, set metrics, make dead letters of orphans."""
        if time.monotonic() < self._next_report_s:
            return
        self._next_report_s = time.monotonic() + REPORT_EVERY_S
        self._placement.replace_after_restore(source)
        if time.monotonic() >= self._rest_until_s:  # the ledger answers, and intake does not wait for it
            self._health.ready("ledger", True)
        self._orphans.give_up(source)
        source.commit(self._identity.ledger_id)
        lag = source.lag()
        metrics.set_lag(lag)
        still = self._progress.standing_still(source.positions, lag, time.monotonic())
        still -= self._placement.halted.keys()
        self._health.ready("progress", not still, f"{len(still)} partitions stand still" if still else "")
        halted = sorted({partition.topic for partition in self._placement.halted})
        self._health.ready("partitions", not halted, f"halted in {', '.join(halted)}" if halted else "")

    def _rest(self, rest_s: float, reason: str) -> None:
        """Read nothing for `rest_s` seconds, and stay a member of the group."""
        self._rest_until_s = time.monotonic() + rest_s
        log.warning("intake rests", rest_s=round(rest_s, 1), why=reason)

    def _report_alive(self) -> None:
        self._health.alive("intake")
        self._watchdog.alive()

    def _wait_for_kafka(self, fault: BaseException, stopping: Event) -> None:
        reason = fault_reason(fault)
        self._report_alive()
        self._health.ready("kafka", False, reason)
        log.warning("kafka away", error=reason)
        self._kafka_backoff.wait(stopping)
