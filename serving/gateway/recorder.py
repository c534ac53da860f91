"""Sends captures (what agents were asked and answered) to Kafka, redacted, from a thread of its own.

A full queue or an unreachable broker costs captures, never an answer. Feedback that names a lost interaction
waits in the ledger; feedback that brings its own texts does not need one.
"""

import queue
import random
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import structlog
from opentelemetry import metrics

from feedback.envelope import DEPTH_MAX, VALUE_BYTES_MAX, RecordRefused, depth_of, parse
from feedback.event_record import build_event_record
from feedback.producer import KafkaRecord, NotAcknowledged, Sent, TooManyWaiting
from feedback.redaction import Redactor
from ledger.topic_names import INTERACTIONS_TOPIC
from serving.gateway.openai_form import CapturedReply

log = structlog.get_logger(__name__)
_captured = metrics.get_meter("serving").create_counter(
    "clorad.gateway.interactions", unit="{interaction}", description="captures, by what became of them"
)

SOURCE = "clorad/gateway"

_MESSAGES_DEPTH_MAX = DEPTH_MAX - 1  # the messages stand in the event's data, one level down
_ODD = re.compile(rb"NaN|Infinity|\\u(?:0000|[dD][89a-fA-F])|\d{400}")
"""Texts in which intake may find a value that it refuses; most captures need no second reading."""

Send = Callable[[KafkaRecord], Future[Sent]]
"""`feedback.producer.Producer.send`: its future ends once every in-sync replica of Kafka has the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One request and its answer, before redaction."""

    id: str
    agent: str
    version: str
    conversation: str | None
    turn: int | None
    messages: list[Mapping[str, Any]]
    sampling: Mapping[str, Any]
    reply: CapturedReply


class Recorder:
    """A bounded queue of captures; `run` sends them, in a thread of its own."""

    def __init__(self, send: Send, redactor: Redactor, *, share: float, waiting_max: int = 1000) -> None:
        self._send = send
        self._redactor = redactor
        self._share = share
        self._waiting: queue.Queue[Capture] = queue.Queue(waiting_max)

    def samples_next(self) -> bool:
        """Whether the next interaction is in the sample. Reporting its tokens costs the replica a little."""
        return random.random() < self._share

    def put(self, capture: Capture) -> None:
        """Queue a capture; a full queue drops it and counts it."""
        try:
            self._waiting.put_nowait(capture)
        except queue.Full:
            _captured.add(1, {"fate": "no_room"})

    def run(self, stopping: threading.Event) -> None:
        """Redact and send until `stopping` is set and the queue is empty."""
        while not (stopping.is_set() and self._waiting.empty()):
            try:
                capture = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            self._send_one(capture)

    def _send_one(self, capture: Capture) -> None:
        """Redact and send one capture, or count why it is not sent. No capture may end the thread."""
        if depth_of(capture.messages) > _MESSAGES_DEPTH_MAX:
            _captured.add(1, {"fate": "too_deep"})
            return
        try:
            record = self._record(capture)
            if len(record.value or b"") > VALUE_BYTES_MAX:  # intake would make it a dead letter
                _captured.add(1, {"fate": "too_large"})
                return
            if _ODD.search(record.value or b""):
                parse(record.value)  # what intake would refuse costs it a dead letter, and its readiness
            self._send(record).add_done_callback(_count)
        except TooManyWaiting:
            _captured.add(1, {"fate": "kafka_away"})
        except RecordRefused:  # its size and depth are checked above
            _captured.add(1, {"fate": "invalid_json"})
        except ValueError as fault:  # its text names fields, never what they hold
            log.warning("interaction not captured", agent=capture.agent, why=str(fault))
            _captured.add(1, {"fate": "invalid"})

    def _record(self, capture: Capture) -> KafkaRecord:
        data: dict[str, Any] = {
            "agent": capture.agent,
            "author": "gateway",
            "version": capture.version,
            "messages": capture.messages,
            "completion": capture.reply.text,
            "sampling": dict(capture.sampling),
            "finish_reason": capture.reply.finish_reason,
        }
        if len(capture.reply.token_ids) == len(capture.reply.logprobs):
            data |= {"token_ids": capture.reply.token_ids, "logprobs": capture.reply.logprobs}
        if capture.conversation is not None:
            data["conversation"] = capture.conversation
        if capture.turn is not None:
            data["turn"] = capture.turn
        return build_event_record(
            "interaction",
            data,
            topic=INTERACTIONS_TOPIC,
            source=SOURCE,
            redactor=self._redactor,
            event_id=capture.id,
        )


def _count(future: Future[Sent]) -> None:
    fault = future.exception()
    assert fault is None or isinstance(fault, NotAcknowledged)
    _captured.add(1, {"fate": "kept" if fault is None else "not_acknowledged"})
