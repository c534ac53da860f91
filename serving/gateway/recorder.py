"""Sends captures (requests to agents and their answers) to Kafka, redacted, from a thread of its own.

With a full queue or an unreachable broker captures are lost, never an answer. Feedback that names a lost
interaction waits in the ledger; feedback with its own texts does not need one.
"""

import queue
import random
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import structlog
from opentelemetry import metrics

from feedback import token_ids
from feedback.call_arguments import DEPTH_MAX
from feedback.counters import start_at_zero
from feedback.envelope import VALUE_BYTES_MAX, RecordRefused, parse
from feedback.event_record import build_event_record
from feedback.producer import KafkaRecord, NotAcknowledged, Sent, TooManyWaiting
from feedback.redaction import Redactor
from feedback.redaction_process import NotRedacted
from feedback.signing import GATEWAY_SOURCE
from feedback.token_ids import IdsLeftOut
from ledger.topic_names import INTERACTIONS_TOPIC
from serving.gateway.captured_parts import CapturedReply, request_of
from serving.gateway.edge.json_text import encode, encode_now, nests_deeper
from serving.gateway.forms.answer_form import AnswerForm

log = structlog.get_logger(__name__)
_captured = metrics.get_meter("serving").create_counter(
    "clorad.gateway.interactions", unit="{interaction}", description="captures, by what became of them"
)

SOURCE = GATEWAY_SOURCE

LOST = ("no_room", "too_large", "kafka_away", "not_acknowledged", "not_redacted", "invalid")
"""Fates of captures that something prevented: these are alerted on."""

LEFT_OUT = (
    "token_prompt",
    "several_prompts",
    "echo",
    "too_many_choices",
    "embeddings",
    "unreadable_calls",
    "not_text",
    "other_tools",
    "other_fields",
    "unfinished",
    "not_sampled",
)
"""Fates of interactions that are not captured, by what they are."""

_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER = b"0" * 400

_CHARACTER_BYTES_MAX = 4  # of one byte of a request, in memory: one wide character makes a whole text wide
_TOKEN_BYTES = 100  # of one token's id and log-probability, in memory
_CALL_CHARACTERS = 200  # of one tool call: its names, and what holds them

# One capture's content, whatever it is, must not end the gateway.
_CAPTURE_FAULTS = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)

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
    messages_bytes_max: int  # of the request they came in
    sampling: Mapping[str, Any]
    request: Mapping[str, Any] = field(default_factory=dict)  # tools, arguments of the template, …
    restrictions: Sequence[str] = ()
    reply: CapturedReply

    @property
    def memory_bytes(self) -> int:
        """What it takes at most while it waits."""
        reply = self.reply
        characters = len(reply.text) + len(reply.reasoning)
        characters += sum(len(call["arguments"]) + _CALL_CHARACTERS for call in reply.calls.values())
        reply_bytes = characters * _CHARACTER_BYTES_MAX + len(reply.token_ids) * _TOKEN_BYTES
        return self.messages_bytes_max * _CHARACTER_BYTES_MAX + reply_bytes + len(reply.prompt_ids or b"")


class Recorder:
    """A queue of captures, bounded in bytes from `put` until Kafka has them; `run` sends them."""

    def __init__(self, send: Send, redactor: Redactor, *, share: float, bytes_max: int) -> None:
        self._send = send
        self._redactor = redactor
        self._share = share
        self._bytes_max = bytes_max
        self._bytes_held = 0
        self._counting = threading.Lock()  # of `_bytes_held`: puts, sends and acknowledgements meet there
        self._waiting: queue.SimpleQueue[Capture] = queue.SimpleQueue()
        start_at_zero(_captured, *({"fate": fate} for fate in ("kept", *LOST, *LEFT_OUT)))

    async def accept(
        self, form: AnswerForm, body: Mapping[str, Any], body_bytes: int
    ) -> Mapping[str, Any] | None:
        """The request as a chat if its interaction is to be captured; what cannot be is counted.

        A request that does not fit into an event is known by now: its replica is not asked for tokens.
        """
        if (flaw := form.flaw(body)) is not None:
            self.count(flaw)
            return None
        chat = form.as_chat(body)  # none: a form that is no conversation, or that the replica refuses
        if chat is None or not self.samples_next():
            return None
        if body_bytes > VALUE_BYTES_MAX:
            kept = await encode([chat["messages"], request_of(chat)], large=True)
            if len(kept) > VALUE_BYTES_MAX:
                self.count("too_large")
                return None
        return chat

    def samples_next(self) -> bool:
        """Whether the next interaction is in the sample. Reporting its tokens costs the replica a little."""
        sampled = random.random() < self._share
        if not sampled:
            self.count("not_sampled")
        return sampled

    def count(self, fate: str, interactions: int = 1) -> None:
        """Count interactions by their fate: one of `LOST` or `LEFT_OUT`, a reason of intake, or `kept`."""
        if interactions:
            _captured.add(interactions, {"fate": fate})

    def put(self, capture: Capture) -> None:
        """Queue a capture; one that the queue has no room for is dropped and counted."""
        if not self._hold(capture.memory_bytes):
            self.count("no_room")
        else:
            self._waiting.put(capture)

    def run(self, stopping: threading.Event) -> None:
        """Redact and send until `stopping` is set and the queue is empty."""
        while not (stopping.is_set() and self._waiting.empty()):
            try:
                capture = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            memory_bytes = capture.memory_bytes
            fate = self._record(capture, memory_bytes)
            if fate is not None:
                self._release(memory_bytes)
                self.count(fate)

    def _record(self, capture: Capture, memory_bytes: int) -> str | None:
        """Send one capture. Returns its fate if that is known by now."""
        try:
            record = self._event(capture)
            value = record.value or b""
            if len(value) > VALUE_BYTES_MAX:
                return "too_large"
            if nests_deeper(value, DEPTH_MAX):
                return "too_deep"
            if _is_suspect(value):
                parse(value)  # what intake would make a dead letter is dropped here
            sending = self._send(record)
        except RecordRefused as refusal:
            return refusal.unusable.reason.value
        except TooManyWaiting:
            return "kafka_away"
        except NotRedacted as fault:
            log.warning("interaction not redacted", agent=capture.agent, why=str(fault))
            return "not_redacted"
        except _CAPTURE_FAULTS as fault:
            # A ValueError of `build_event_record` names fields, never what they hold; the text of others may.
            why = str(fault) if type(fault) is ValueError else type(fault).__name__
            log.warning("interaction not captured", agent=capture.agent, why=why)
            return "invalid"
        sending.add_done_callback(lambda future: self._sent(future, memory_bytes))
        return None

    def _event(self, capture: Capture) -> KafkaRecord:
        data: dict[str, Any] = {
            **capture.request,
            "agent": capture.agent,
            "author": "gateway",
            "version": capture.version,
            "messages": capture.messages,
            "completion": capture.reply.text,
            "sampling": dict(capture.sampling),
            "finish_reason": capture.reply.finish_reason,
        }
        if (message := capture.reply.message) is not None:
            data["reply"] = message
        if capture.restrictions:
            data["restrictions"] = list(capture.restrictions)
        numbers = _prompt_of(capture.reply)
        if len(capture.reply.token_ids) == len(capture.reply.logprobs):
            numbers |= {"token_ids": capture.reply.token_ids, "logprobs": capture.reply.logprobs}
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
            numbers=numbers,
            encode=encode_now,
        )

    def _sent(self, future: Future[Sent], memory_bytes: int) -> None:
        fault = future.exception()
        assert fault is None or isinstance(fault, NotAcknowledged)
        self._release(memory_bytes)
        self.count("kept" if fault is None else "not_acknowledged")

    def _hold(self, memory_bytes: int) -> bool:
        with self._counting:
            if self._bytes_held + memory_bytes > self._bytes_max:
                return False
            self._bytes_held += memory_bytes
            return True

    def _release(self, memory_bytes: int) -> None:
        with self._counting:
            self._bytes_held -= memory_bytes


def _is_suspect(value: bytes) -> bool:
    """Whether intake may find a value in this text that it refuses: most captures need no second reading."""
    if b"NaN" in value or b"Infinity" in value or _LONG_NUMBER in value.translate(_ZEROS):
        return True
    return b"\\u" in value and _ESCAPE.search(value) is not None


def _prompt_of(reply: CapturedReply) -> dict[str, Any]:
    """The fields that say what the model read, or why that is not known."""
    if not reply.prompt_ids:
        return {"ids_left_out": IdsLeftOut.NOT_REPORTED.value}
    return {"prompt_token_ids": token_ids.to_text(token_ids.pack_json(reply.prompt_ids))}
