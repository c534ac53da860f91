"""Reads polled records and stores them in the ledger: events, dead letters and offsets in one transaction."""

import time
from collections.abc import Callable, Iterable, Sequence

import structlog
from kafka import TopicPartition
from opentelemetry.trace import SpanKind

from feedback import metrics
from feedback.intake_options import IntakeOptions
from feedback.placement import Placement
from feedback.reading import Reader, received_s
from feedback.source import PolledBatch, Source
from feedback.tracing import event_span, is_on
from ledger.database import Database
from ledger.errors import MovedOn
from ledger.events import Batch, Event
from ledger.intake import transaction
from ledger.intake.transaction import Kept

log = structlog.get_logger(__name__)


class BatchWriter:
    """Writes for one intake. `reached` is called where a test may kill the process."""

    def __init__(
        self,
        database: Database,
        placement: Placement,
        reader: Reader,
        options: IntakeOptions,
        *,
        reached: Callable[[str], None],
    ) -> None:
        self._database = database
        self._placement = placement
        self._reader = reader
        self._dead_letter_topic = options.topics.dead_letters
        self._captures_topic = options.topics.interactions if options.unsigned_captures else None
        self._administrators = frozenset(map(reader.redacted_name, options.administrators))
        self._reached = reached

    def write(self, source: Source, polled: Sequence[PolledBatch]) -> Kept | None:
        """Store the batches and move `source` beyond them. Returns None if other processes stored them all.

        A partition that another process has read meanwhile is left out and unplaced. Raises
        `LedgerUnavailable`; nothing is stored then.
        """
        batches = {batch.partition: self._read(batch) for batch in polled}
        while batches:
            begun_s = time.monotonic()
            try:
                kept = transaction.keep(
                    self._database,
                    list(batches.values()),
                    dead_letter_topic=self._dead_letter_topic,
                    administrators=self._administrators,
                    reached=self._reached,
                )
            except MovedOn as moved:
                partition = TopicPartition(moved.partition.topic, moved.partition.number)
                log.warning("partition moved on", **partition._asdict(), offset=moved.next_offset)
                source.unplace(partition)
                del batches[partition]
                continue
            self._reached("intake-before-commit")
            for partition, batch in batches.items():
                source.positions[partition] = batch.end
            self._count(kept, polled, time.monotonic() - begun_s)
            _trace_events(batches.values(), took_s=time.monotonic() - begun_s)
            return kept
        return None

    def _read(self, polled: PolledBatch) -> Batch:
        now_s = time.time()
        return Batch(
            partition=self._placement.ledger_partition(polled.partition),
            start=polled.start,
            end=polled.end,
            arrivals=tuple(
                self._reader.read(
                    offset=record.offset,
                    key=record.key,
                    value=record.value,
                    headers=tuple(record.headers),
                    received_s=received_s(record.timestamp, now_s),
                    any_captures=polled.partition.topic == self._captures_topic,
                )
                for record in polled.records
            ),
        )

    def _count(self, kept: Kept, polled: Sequence[PolledBatch], took_s: float) -> None:
        metrics.count_records(kept, took_s=took_s)
        metrics.count_redactions(self._reader.redacted)
        self._reader.redacted.clear()
        now_s = time.time()
        oldest = [batch.records[0].timestamp for batch in polled if batch.records]
        metrics.record_delays(now_s - received_s(timestamp_ms, now_s) for timestamp_ms in oldest)


def _trace_events(batches: Iterable[Batch], *, took_s: float) -> None:
    """Add a span to the trace of each event that was stored, if its sender began one."""
    if not is_on():
        return
    began_s = time.time() - took_s
    for batch in batches:
        place = {"topic": batch.partition.topic, "partition": batch.partition.number}
        for arrival in batch.arrivals:
            event = arrival.content
            if isinstance(event, Event) and event.trace is not None:
                names = {"agent": event.agent, "offset": arrival.offset, **place}
                kind = SpanKind.CONSUMER
                with event_span("clorad.intake", event.trace, kind=kind, began_s=began_s, **names):
                    continue  # it ends here, where the event is stored
