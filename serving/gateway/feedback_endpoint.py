"""Accepts feedback over HTTP: checks it, redacts it, sends it to Kafka, and answers once Kafka has it.

The body is a CloudEvent in structured or binary mode (https://github.com/cloudevents/spec, HTTP binding), or
a bare `type` and `data`. The client's id is kept, so a client may send the same event again.
"""

import asyncio
import json
import uuid
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from opentelemetry import metrics
from opentelemetry.trace import SpanKind

from feedback.counters import start_at_zero
from feedback.envelope import VALUE_BYTES_MAX, Envelope, RecordRefused, open_envelope, parse
from feedback.event_record import build_event_record, signed_record
from feedback.producer import KafkaRecord, NotAcknowledged, Sent, TooManyWaiting
from feedback.redaction import Redactor
from feedback.redaction_process import NotRedacted
from feedback.reply_form import without_nulls
from feedback.signing import SigningKey
from feedback.tracing import event_span, traceparent_of
from ledger.events import Reason
from ledger.topic_names import FEEDBACK_TOPIC
from serving.gateway.access.attribution import attributed
from serving.gateway.access.caller import Caller
from serving.gateway.edge.cloudevent_headers import kafka_headers
from serving.gateway.edge.errors import RequestRefused
from serving.gateway.edge.http_request import HttpRequest
from serving.gateway.recorder import SOURCE, Send

_accepted = metrics.get_meter("serving").create_counter(
    "clorad.gateway.feedback",
    unit="{event}",
    description="feedback over HTTP, by whether Kafka acknowledged it",
)

ACK_S_MAX = 12.0
"""Seconds a sender waits for Kafka: a little longer than the producer itself tries."""

_FATES = {
    TooManyWaiting: "too_many_waiting",
    NotAcknowledged: "not_acknowledged",
    TimeoutError: "timeout",
}
TYPES = ("clorad.correction.v1", "clorad.intervention.v1", "clorad.outcome.v1", "clorad.retraction.v1")
_INLINE_BYTES_MAX = (
    8 * 1024
)  # a larger event is read and redacted in a thread: that can take a tenth of a second


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedFeedback:
    """Where Kafka keeps the event, on every in-sync replica."""

    id: str
    source: str
    sent: Sent


class FeedbackEndpoint:
    """Accepts feedback and sends it to Kafka, signed where the gateway knows the author."""

    def __init__(
        self, send: Send, redactor: Redactor, key: SigningKey, *, ack_s_max: float = ACK_S_MAX
    ) -> None:
        self._send = send
        self._redactor = redactor
        self._key = key
        self._ack_s_max = ack_s_max
        start_at_zero(_accepted, *({"fate": fate} for fate in ("kept", *_FATES.values())))

    async def accept(self, http: HttpRequest, agents: AbstractSet[str]) -> AcceptedFeedback:
        """Kafka has the event afterwards. Raises `RequestRefused`: after a 503 it may be sent again."""
        raw = await http.body(VALUE_BYTES_MAX)
        make = partial(self._record, raw, http.headers, agents, http.caller)
        record = make() if len(raw) <= _INLINE_BYTES_MAX else await asyncio.to_thread(make)
        try:
            sent = await asyncio.wait_for(asyncio.wrap_future(self._send(record)), self._ack_s_max)
        except tuple(_FATES) as fault:
            _accepted.add(1, {"fate": _FATES[type(fault)]})
            text = "not acknowledged by Kafka; send it again under the same id"
            raise RequestRefused(503, text, "kafka_away") from None
        _accepted.add(1, {"fate": "kept"})
        stored = {name: (value or b"").decode() for name, value in record.headers}
        return AcceptedFeedback(id=stored["ce_id"], source=stored["ce_source"], sent=sent)

    def _record(
        self, raw: bytes, headers: Mapping[str, str], agents: AbstractSet[str], caller: Caller
    ) -> KafkaRecord:
        """The record to send. Raises `RequestRefused`, in words that do not repeat what was sent."""
        envelope = attributed(_opened(raw, headers), caller)
        agent = envelope.data.get("agent")
        if isinstance(agent, str):
            caller.require_agent(agent)
            if agent not in agents:
                raise RequestRefused(404, "agent: not declared", "agent")
        occurred_s = envelope.occurred_s
        with event_span("clorad.post", envelope.trace, kind=SpanKind.PRODUCER, agent=str(agent)) as span:
            sent_trace = traceparent_of(span) or envelope.trace
        try:
            record = build_event_record(
                envelope.type,
                envelope.data,
                topic=FEEDBACK_TOPIC,
                source=envelope.source,
                redactor=self._redactor,
                event_id=envelope.id,
                at=None if occurred_s is None else datetime.fromtimestamp(occurred_s, UTC),
                trace=sent_trace,
                key_id=caller.key_id,
                rights=caller.vouched_rights,
            )
        except ValueError as fault:
            raise RequestRefused(400, str(fault), "event") from None
        except NotRedacted:
            raise RequestRefused(503, "not redacted in time; send it again", "not_redacted") from None
        # Without an author that the gateway knows, the event is what anybody could have sent: unsigned.
        return record if caller.author is None else signed_record(record, self._key)


def _opened(raw: bytes, headers: Mapping[str, str]) -> Envelope:
    try:
        envelope = open_envelope(_completed(raw, headers), kafka_headers(headers))
    except RecordRefused as refusal:
        reason = refusal.unusable.reason
        status = 413 if reason is Reason.OVERSIZED else 400
        raise RequestRefused(status, f"{reason.value}: {refusal.unusable.detail}", "event") from None
    if envelope.type not in TYPES:
        raise RequestRefused(400, f"type: one of {', '.join(TYPES)}", "event")
    if not isinstance(envelope.data, dict):
        raise RequestRefused(400, "data: an object", "event")
    return envelope


def _completed(raw: bytes, headers: Mapping[str, str]) -> bytes:
    """A bare `{"type": …, "data": …}` becomes a structured event; where it has no id, it gets one."""
    parsed: Any = parse(raw)
    if "ce-id" in headers or not isinstance(parsed, dict) or parsed.get("specversion") is not None:
        return raw
    given = {"id": str(uuid.uuid4()), "source": SOURCE, **without_nulls(parsed), "specversion": "1.0"}
    return json.dumps(given).encode()
