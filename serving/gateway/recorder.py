"""Keeping what agents were asked and said: best effort, off the path of the request, redacted first.

A full queue or a broker that is away costs captures, never an answer. Feedback that names an interaction
then waits in the ledger; feedback with its own texts never does.
"""

import queue
import random
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import structlog
from opentelemetry import metrics

from feedback.envelope import VALUE_BYTES_MAX
from feedback.outgoing import outgoing
from feedback.producer import KafkaRecord, NotAcknowledged, Sent, TooManyWaiting
from feedback.redaction import Redactor
from serving.gateway.openai_form import CapturedReply

log = structlog.get_logger(__name__)
_captured = metrics.get_meter("serving").create_counter("clorad.gateway.interactions", unit="{interaction}")

TOPIC = "clorad.interactions"
SOURCE = "clorad/gateway"

Send = Callable[[KafkaRecord], Future[Sent]]
"""feedback.producer.Producer.send: a future that ends when every in-sync replica of Kafka has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What is known of one answer, before redaction."""

    id: str
    agent: str
    version: str
    conversation: str | None
    turn: int | None
    messages: list[Mapping[str, Any]]
    sampling: Mapping[str, Any]
    heard: CapturedReply


class Recorder:
    """A bounded queue and the thread that empties it."""

    def __init__(
        self, send: Send, redactor: Redactor, *, share: float = 1.0, waiting_max: int = 1000
    ) -> None:
        self._send = send
        self._redactor = redactor
        self._share = share
        self._waiting: queue.Queue[Capture] = queue.Queue(waiting_max)

    def wants(self) -> bool:
        """Whether the next interaction is in the sample. A token costs the replica a little to report."""
        return random.random() < self._share

    def put(self, interaction: Capture) -> None:
        """Take it if there is room."""
        try:
            self._waiting.put_nowait(interaction)
        except queue.Full:
            _captured.add(1, {"fate": "no_room"})

    def run(self, stopping: threading.Event) -> None:
        """Redact and send until told to stop and nothing waits."""
        while not (stopping.is_set() and self._waiting.empty()):
            try:
                interaction = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            try:
                record = self._record(interaction)
                if len(record.value or b"") > VALUE_BYTES_MAX:  # intake would only bury it
                    _captured.add(1, {"fate": "too_large"})
                    continue
                self._send(record).add_done_callback(_count)
            except TooManyWaiting:
                _captured.add(1, {"fate": "kafka_away"})
            except ValueError as complaint:  # names fields, never what they hold
                log.warning("interaction not captured", agent=interaction.agent, why=str(complaint))
                _captured.add(1, {"fate": "invalid"})

    def _record(self, said: Capture) -> KafkaRecord:
        data: dict[str, Any] = {
            "agent": said.agent,
            "author": "gateway",
            "version": said.version,
            "messages": said.messages,
            "completion": said.heard.text,
            "sampling": dict(said.sampling),
            "finish_reason": said.heard.finish_reason,
        }
        if len(said.heard.token_ids) == len(said.heard.logprobs):
            data |= {"token_ids": said.heard.token_ids, "logprobs": said.heard.logprobs}
        if said.conversation is not None:
            data["conversation"] = said.conversation
        if said.turn is not None:
            data["turn"] = said.turn
        return outgoing(
            "interaction", data, topic=TOPIC, source=SOURCE, redactor=self._redactor, event_id=said.id
        )


def _count(future: Future[Sent]) -> None:
    fault = future.exception()
    assert fault is None or isinstance(fault, NotAcknowledged)
    _captured.add(1, {"fate": "kept" if fault is None else "not_acknowledged"})
