"""The metrics of intake: records by what became of them, their delay, and how many are unread."""

from collections.abc import Iterable, Mapping

from kafka import TopicPartition
from opentelemetry import metrics

from feedback.counters import start_at_zero
from feedback.gauge import Gauge
from ledger.events import Reason
from ledger.intake.transaction import Kept

_meter = metrics.get_meter("feedback")
_records = _meter.create_counter(
    "clorad.feedback.records", unit="{record}", description="records read from Kafka, by what became of them"
)
_not_yours = _meter.create_counter(
    "clorad.feedback.not_yours",
    unit="{event}",
    description="events stored without effect: they amend or retract another author's or agent's event",
)
_redactions = _meter.create_counter(
    "clorad.feedback.redactions",
    unit="{redaction}",
    description="secrets and personal data removed from texts before they were stored",
)
_lag = Gauge(
    _meter,
    "clorad.feedback.lag",
    unit="{record}",
    description="records that wait in a partition that this process reads",
)
_keep_s = _meter.create_histogram(
    "clorad.feedback.keep.duration",
    unit="s",
    description="seconds of one transaction that stores records",
    explicit_bucket_boundaries_advisory=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_delay_s = _meter.create_histogram(
    "clorad.feedback.delay",
    unit="s",
    description="seconds from Kafka's receipt of a record to the ledger, of the oldest of each batch",
    explicit_bucket_boundaries_advisory=(0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0),
)


def start() -> None:
    """Export every series of records from the start."""
    start_at_zero(_not_yours)
    start_at_zero(_records, *({"fate": fate} for fate in ("stored", "duplicate")))
    start_at_zero(_records, *({"fate": "dead", "reason": reason.value} for reason in Reason))


def count_records(kept: Kept, *, took_s: float) -> None:
    """Count the records that one transaction stored, and record its duration."""
    _keep_s.record(took_s)
    _records.add(kept.stored, {"fate": "stored"})
    _not_yours.add(kept.not_yours)
    _records.add(kept.duplicates, {"fate": "duplicate"})
    for reason, number in kept.dead.items():
        _records.add(number, {"fate": "dead", "reason": reason.value})


def count_redactions(counts: Mapping[str, int]) -> None:
    """Count redactions by kind."""
    for kind, number in counts.items():
        _redactions.add(number, {"kind": kind})


def record_delays(ages_s: Iterable[float]) -> None:
    """Record how long ago Kafka received the oldest record of each batch that was stored just now."""
    for age_s in ages_s:
        _delay_s.record(age_s)


def set_lag(lags: Mapping[TopicPartition, int]) -> None:
    """Export the lag of the partitions of this process, and of no others."""
    _lag.replace(
        (lag, {"topic": partition.topic, "partition": partition.partition}) for partition, lag in lags.items()
    )
