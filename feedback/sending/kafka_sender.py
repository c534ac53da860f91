"""Sends events to the feedback topic: redacted first, and signed where the sender has a key."""

import asyncio
from collections.abc import Iterable
from concurrent.futures import Future

from feedback.connection import Cluster
from feedback.envelope import RecordRefused, open_envelope
from feedback.event_record import build_event_record, signed_record
from feedback.producer import KafkaRecord, NotAcknowledged, Producer, Sent, TooManyWaiting
from feedback.redaction import RedactionCounts, Redactor
from feedback.sending.attempts import SendAgain
from feedback.sending.event import FeedbackRefused, OutgoingEvent, SentFeedback
from feedback.signing import SigningKey
from feedback.tracing import traceparent_of
from ledger.topic_names import FEEDBACK_TOPIC

ACK_S_MAX = 10.0


class TextsOnly(Redactor):
    """Redacts texts before they reach Kafka. Intake redacts identifiers: it has the key that gives each
    one its token, and another key here would give one person two tokens."""

    def __init__(self) -> None:
        super().__init__(lambda _: "")

    def name(self, name: str, counts: RedactionCounts) -> str:  # noqa: ARG002
        """The identifier, unchanged."""
        return name


class KafkaSender:
    """Sends until closed. Threads may share it. `rights` are what the signing key vouches for."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        key: SigningKey | None,
        rights: Iterable[str] = (),
        ack_s_max: float = ACK_S_MAX,
        close_s_max: float = ACK_S_MAX,
    ) -> None:
        self._close_s_max = close_s_max
        self._key = key
        self._rights = frozenset(rights)
        self._redactor = TextsOnly()
        self._producer = Producer(cluster, ack_s_max=ack_s_max)

    def record(self, event: OutgoingEvent) -> KafkaRecord:
        """The record that is sent. Raises `FeedbackRefused` for what intake would make a dead letter."""
        try:
            record = build_event_record(
                event.type,
                event.data,
                topic=FEEDBACK_TOPIC,
                source=event.source,
                redactor=self._redactor,
                event_id=event.id,
                at=event.time,
                trace=traceparent_of(),
                rights=self._rights,
            )
            record = signed_record(record, self._key) if self._key else record
            open_envelope(record.value, record.headers)
        except (ValueError, RecordRefused) as complaint:
            raise FeedbackRefused(str(complaint)) from None
        return record

    def begin(self, event: OutgoingEvent) -> Future[Sent]:
        """Take the event; the future ends once Kafka has it. Raises `FeedbackRefused`, `SendAgain`."""
        try:
            return self._producer.send(self.record(event))
        except TooManyWaiting:
            raise SendAgain("too many events wait for Kafka") from None

    def post(self, event: OutgoingEvent, *, left_s: float) -> SentFeedback:
        """Every in-sync replica has the event afterwards. Raises `SendAgain`, `FeedbackRefused`."""
        try:
            return _sent(event, self.begin(event).result(timeout=left_s))
        except (NotAcknowledged, TimeoutError) as fault:
            raise SendAgain(str(fault) or "timeout") from None

    def close(self) -> None:
        """Send or give up what waits; take no more."""
        self._producer.close(wait_s_max=self._close_s_max)


class AsyncKafkaSender:
    """The form for event loops."""

    def __init__(self, sender: KafkaSender) -> None:
        self._sender = sender

    async def post(self, event: OutgoingEvent, *, left_s: float) -> SentFeedback:
        """The same as `KafkaSender.post`."""
        try:
            pending = asyncio.wrap_future(self._sender.begin(event))
            return _sent(event, await asyncio.wait_for(pending, left_s))
        except (NotAcknowledged, TimeoutError) as fault:
            raise SendAgain(str(fault) or "timeout") from None

    async def close(self) -> None:
        """The same as `KafkaSender.close`, which may take seconds."""
        await asyncio.to_thread(self._sender.close)


def _sent(event: OutgoingEvent, sent: Sent) -> SentFeedback:
    return SentFeedback(
        id=event.id, source=event.source, topic=sent.topic, partition=sent.partition, offset=sent.offset
    )
