"""What intake counts: records by what became of them, how late they were kept, and what is left to read."""

from collections.abc import Iterable, Mapping

from kafka import TopicPartition
from opentelemetry import metrics

from feedback.counters import start_at_zero
from feedback.gauge import Gauge
from ledger.events import Reason
from ledger.intake.transaction import Kept

_meter = metrics.get_meter("feedback")
_records = _meter.create_counter("clorad.feedback.records", unit="{record}")
_redactions = _meter.create_counter("clorad.feedback.redactions", unit="{redaction}")
_lag = Gauge(_meter, "clorad.feedback.lag", unit="{record}")
_keep_s = _meter.create_histogram(
    "clorad.feedback.keep.duration",
    unit="s",
    explicit_bucket_boundaries_advisory=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
_delay_s = _meter.create_histogram(
    "clorad.feedback.delay",
    unit="s",
    explicit_bucket_boundaries_advisory=(0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 86400.0),
)


def begin() -> None:
    """Every series of records is exported from the start."""
    start_at_zero(_records, *({"fate": fate} for fate in ("stored", "duplicate")))
    start_at_zero(_records, *({"fate": "dead", "reason": reason.value} for reason in Reason))


def kept(batch: Kept, *, took_s: float) -> None:
    """One transaction's records have their fates."""
    _keep_s.record(took_s)
    _records.add(batch.stored, {"fate": "stored"})
    _records.add(batch.duplicates, {"fate": "duplicate"})
    for reason, number in batch.dead.items():
        _records.add(number, {"fate": "dead", "reason": reason.value})


def redacted(found: Mapping[str, int]) -> None:
    """So much of each kind was taken out of texts."""
    for kind, number in found.items():
        _redactions.add(number, {"kind": kind})


def delayed(ages_s: Iterable[float]) -> None:
    """How long ago Kafka got what was kept just now: the oldest record of each partition's batch."""
    for age_s in ages_s:
        _delay_s.record(age_s)


def behind(lags: Mapping[TopicPartition, int]) -> None:
    """What is left to read in the partitions that are ours; of others nothing is told any more."""
    _lag.replace((lag, {"topic": place.topic, "partition": place.partition}) for place, lag in lags.items())
