"""Commands that speak to Kafka: they create topics, send one event, and ask the broker for the audit."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any

import structlog
from opentelemetry.trace import SpanKind

from daemon.console import CommandFailed
from daemon.exit_codes import ExitCode
from daemon.process import telemetry
from daemon.process.role_process import RoleRefused
from daemon.roles.startup import cluster_of
from daemon.settings import Settings
from daemon.signers import sending_key, why_not_believed
from daemon.terminal.progress import working
from feedback import inspection
from feedback.connection import Cluster
from feedback.inspection import BrokerAway, Extent
from feedback.sending.attempts import SendAgain
from feedback.sending.event import FeedbackRefused, build_outgoing_event
from feedback.sending.kafka_sender import ACK_S_MAX, KafkaSender
from feedback.topics import Topics
from feedback.tracing import event_span
from ledger.reports.audit import Place

TRACE_S_MAX = 2.0


def create_topics(settings: Settings, *, partitions: int, replication: int) -> tuple[str, ...]:
    """Create those of the four topics that do not exist. Returns their names."""
    try:
        with working(f"asking Kafka at {settings.kafka.bootstrap_servers}"):
            return inspection.make_topics(
                cluster(settings), Topics(), partitions=partitions, replication=replication
            )
    except BrokerAway as away:
        raise broker_away(settings, away) from None


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
    traces = telemetry.start_traces(settings.telemetry, role="send", push_s_max=TRACE_S_MAX)
    try:
        with event_span("clorad.send", None, kind=SpanKind.PRODUCER, agent=str(data.get("agent"))):
            return _send(settings, kind, data, source=source, event_id=event_id)
    finally:
        if traces is not None:
            traces.shutdown()


def _send(
    settings: Settings, kind: str, data: Mapping[str, Any], *, source: str, event_id: str | None
) -> dict[str, Any]:
    if (why := why_not_believed(settings.feedback, source)) is not None:
        raise CommandFailed(f"not sent: {why}", code=ExitCode.CHANGE_NEEDED)
    try:
        event = build_outgoing_event(kind, data, source=source, event_id=event_id)
        with closing(sender_of(settings)) as sender:
            sent = sender.post(event, left_s=2 * ACK_S_MAX)
    except FeedbackRefused as complaint:
        raise CommandFailed(f"not sent: {complaint}", code=ExitCode.USAGE) from None
    except SendAgain as fault:
        reason = f"Kafka at {settings.kafka.bootstrap_servers} did not acknowledge it ({fault.reason})"
        advice = f"it may be there all the same: sent again with --id {event.id} it counts once"
        raise CommandFailed(f"{reason}; {advice}", code=ExitCode.TRY_AGAIN) from None
    return {"uid": sent.uid, "topic": sent.topic, "partition": sent.partition, "offset": sent.offset}


def sender_of(settings: Settings) -> KafkaSender:
    """What sends a person's events: signed, with the signer's rights, where `feedback.sign_as` names one."""
    key = sending_key(settings.feedback)
    rights = settings.feedback.signers[key.id].rights if key else ()
    return KafkaSender(cluster(settings), key=key, rights=rights, ack_s_max=ACK_S_MAX, close_s_max=1.0)


def extents(settings: Settings) -> tuple[Extent, ...]:
    """The first and the end offset of each partition that intake reads."""
    topics = Topics()
    try:
        return inspection.extents(cluster(settings), (topics.feedback, topics.interactions))
    except BrokerAway as away:
        raise broker_away(settings, away) from None


def offsets(settings: Settings, extent: Extent, *, start: int, end: int) -> Iterator[int]:
    """Offsets of the records that a partition has, ascending."""
    try:
        yield from inspection.offsets(cluster(settings), extent, start=start, end=end)
    except BrokerAway as away:
        raise broker_away(settings, away) from None


def ends(settings: Settings) -> dict[Place, int]:
    """End offsets by topic id and partition."""
    return {(extent.topic_id, extent.partition): extent.end for extent in extents(settings)}


def cluster(settings: Settings) -> Cluster:
    """The connection settings of this installation. Its Kafka clients log to standard error."""
    log_to_stderr()
    try:
        return cluster_of(settings)
    except RoleRefused as refusal:
        raise CommandFailed(str(refusal), code=ExitCode.CHANGE_NEEDED) from None


def log_to_stderr() -> None:
    """Have what clorad logs leave standard output to the command."""
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))


def broker_away(settings: Settings, away: BrokerAway) -> CommandFailed:
    """The failure of a command that Kafka did not answer."""
    servers = settings.kafka.bootstrap_servers
    return CommandFailed(f"Kafka at {servers} did not answer ({away})", code=ExitCode.TRY_AGAIN)
