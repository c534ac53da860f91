"""Commands that speak to Kafka: they create topics, send one event, and ask the broker for the audit."""

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import structlog

from daemon.console import CommandFailed
from daemon.exit_codes import ExitCode
from daemon.process.role_process import RoleRefused
from daemon.roles.startup import cluster_of
from daemon.settings import Settings
from daemon.signers import sending_key
from feedback import inspection
from feedback.connection import Cluster
from feedback.envelope import RecordRefused, open_envelope
from feedback.event_record import build_event_record, signed_record
from feedback.inspection import BrokerAway, Extent
from feedback.producer import NotAcknowledged, Producer
from feedback.redaction import RedactionCounts, Redactor
from feedback.topics import Topics
from ledger.reports.audit import Place

ACK_S_MAX = 10.0


class TextsOnly(Redactor):
    """Redacts texts before they reach Kafka. Intake redacts identifiers: it has the key that gives each
    one its token, and another key here would give one person two tokens."""

    def __init__(self) -> None:
        super().__init__(lambda _: "")

    def name(self, name: str, counts: RedactionCounts) -> str:  # noqa: ARG002
        """The identifier, unchanged."""
        return name


def create_topics(settings: Settings, *, partitions: int, replication: int) -> tuple[str, ...]:
    """Create those of the four topics that do not exist. Returns their names."""
    try:
        return inspection.make_topics(
            cluster(settings), Topics(), partitions=partitions, replication=replication
        )
    except BrokerAway as away:
        raise _away(settings, away) from None


def check_topics(settings: Settings, *, replication: int) -> bool:
    """Print a sentence for each setting under which the topics may lose feedback. False if there is one."""
    try:
        shortfalls = inspection.topic_shortfalls(cluster(settings), Topics(), replication=replication)
    except BrokerAway as away:  # perhaps this user may not ask, and nothing is wrong
        sys.stderr.write(f"clorad: whether the topics may lose feedback is not known ({away})\n")
        return True
    for sentence in shortfalls:
        sys.stderr.write(f"clorad: {sentence}\n")
    return not shortfalls


def send(
    settings: Settings,
    kind: str,
    data: Mapping[str, Any],
    *,
    source: str,
    event_id: str | None,
) -> dict[str, Any]:
    """Send one event and wait until every in-sync replica has it. Returns its uid, partition and offset."""
    key = sending_key(settings.feedback)
    rights = settings.feedback.signers[key.id].rights if key else ()
    try:
        record = build_event_record(
            kind,
            data,
            topic=Topics().feedback,
            source=source,
            redactor=TextsOnly(),
            event_id=event_id,
            rights=rights,
        )
        record = signed_record(record, key) if key else record
        open_envelope(record.value, record.headers)  # refuse here what intake would make a dead letter
    except (ValueError, RecordRefused) as complaint:
        raise CommandFailed(f"not sent: {complaint}", code=ExitCode.USAGE) from None
    headers = {name: (value or b"").decode() for name, value in record.headers}
    producer = Producer(cluster(settings), ack_s_max=ACK_S_MAX)
    try:
        sent = producer.send(record).result(timeout=2 * ACK_S_MAX)
    except (NotAcknowledged, TimeoutError) as fault:
        reason = (
            f"Kafka at {settings.kafka.bootstrap_servers} did not acknowledge it ({str(fault) or 'timeout'})"
        )
        advice = f"it may be there all the same: sent again with --id {headers['ce_id']} it counts once"
        raise CommandFailed(f"{reason}; {advice}", code=ExitCode.TRY_AGAIN) from None
    finally:
        producer.close(wait_s_max=1.0)
    return {
        "uid": f"{headers['ce_source']}#{headers['ce_id']}",
        "topic": sent.topic,
        "partition": sent.partition,
        "offset": sent.offset,
    }


def extents(settings: Settings) -> tuple[Extent, ...]:
    """The first and the end offset of each partition that intake reads."""
    topics = Topics()
    try:
        return inspection.extents(cluster(settings), (topics.feedback, topics.interactions))
    except BrokerAway as away:
        raise _away(settings, away) from None


def offsets(settings: Settings, extent: Extent, *, start: int, end: int) -> Iterator[int]:
    """Offsets of the records that a partition has, ascending."""
    try:
        yield from inspection.offsets(cluster(settings), extent, start=start, end=end)
    except BrokerAway as away:
        raise _away(settings, away) from None


def ends(settings: Settings) -> dict[Place, int]:
    """End offsets by topic id and partition."""
    return {(extent.topic_id, extent.partition): extent.end for extent in extents(settings)}


def cluster(settings: Settings) -> Cluster:
    """The connection settings of this installation. Its Kafka clients log to standard error."""
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    try:
        return cluster_of(settings)
    except RoleRefused as refusal:
        raise CommandFailed(str(refusal), code=ExitCode.CHANGE_NEEDED) from None


def _away(settings: Settings, away: BrokerAway) -> CommandFailed:
    servers = settings.kafka.bootstrap_servers
    return CommandFailed(f"Kafka at {servers} did not answer ({away})", code=ExitCode.TRY_AGAIN)
