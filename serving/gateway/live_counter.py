"""Counts conversations and signals of trouble by version, and sends the counts to Kafka once a second.

All answers are counted, captured or not. Kafka gets each record at least once, and the ledger counts it once:
a record that was not acknowledged is sent again, under its number, before the next one about that agent.
"""

import hashlib
import json
import threading
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from opentelemetry import metrics

from feedback.producer import KafkaRecord, NotAcknowledged, Sent, TooManyWaiting
from feedback.tracing import FirstAnswers
from ledger.events import Signal
from ledger.topic_names import INTERACTIONS_TOPIC
from ledger.versions.routing import Route
from serving.gateway.recorder import SOURCE, Send
from serving.gateway.routing import RouteTarget, version_for

log = structlog.get_logger(__name__)
_meter = metrics.get_meter("serving")
_published = _meter.create_counter(
    "clorad.gateway.live.records",
    unit="{record}",
    description="records of live counts, by what became of them",
)
_dropped = _meter.create_counter(
    "clorad.gateway.live.dropped",
    unit="{conversation}",
    description="conversations with a signal that were not counted, because too many showed it at once",
)

EVERY_S = 1.0
CONVERSATIONS_MAX = 100_000
"""Conversations remembered, so that they are counted once. The longest unused is forgotten first."""

SIGNALS_MAX = 200
"""Conversations with one signal that one record may name, of all versions together."""

KEYS_MAX = 10_000
"""Agents, canaries and shares whose counts may wait for Kafka."""


@dataclass(frozen=True, slots=True)
class CountKey:
    """What the counts of one record have in common."""

    agent: str
    canary: str  # version; empty where none has a share
    share: float


@dataclass(slots=True)
class _Deltas:
    """What was counted since the last record."""

    conversations: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # by version
    signals: dict[Signal, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))  # by name


class LiveCounter:
    """Counts for one process of a gateway. `count` may be called from any thread; `run` has its own."""

    def __init__(self, send: Send, fingerprint: Callable[[bytes], str]) -> None:
        self._send = send
        self._fingerprint = fingerprint
        self._producer = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[CountKey, bytes], None] = OrderedDict()
        self._deltas: dict[CountKey, _Deltas] = {}
        self._sequences: dict[str, int] = defaultdict(int)  # by agent
        self._unsent: dict[str, KafkaRecord] = {}  # by agent: not acknowledged yet
        self._futures: dict[str, Future[Sent]] = {}
        self._first_answers = FirstAnswers()

    def count(
        self, key: CountKey, *, version: str, conversation: str, signals: Iterable[Signal] = ()
    ) -> None:
        """One answer of this version in this conversation, which showed these signals."""
        with self._lock:
            deltas = self._deltas.get(key)
            if deltas is None:
                if len(self._deltas) >= KEYS_MAX:
                    return
                deltas = self._deltas[key] = _Deltas()
            if self._is_first(key, conversation):
                deltas.conversations[version] += 1
            for signal in signals:
                shown = deltas.signals[signal]
                if len(shown) < SIGNALS_MAX:
                    shown.setdefault(self._name(conversation), version)
                else:
                    _dropped.add(1, {"signal": signal.value})

    def answered(self, agent: str, target: RouteTarget, conversation: str, signals: Iterable[Signal]) -> None:
        """Count an answer of the version that this target serves."""
        key = CountKey(agent, target.canary, target.share)
        self.count(key, version=target.version, conversation=conversation, signals=signals)
        self._first_answers.note(agent, target.version)

    def failed(self, route: Route | None, conversation: str) -> None:
        """Count an error of the version that the conversation is routed to."""
        if route is not None:
            version, _ = version_for(route, conversation)
            key = CountKey(route.agent, route.canary_version or "", route.canary_share)
            self.count(key, version=version, conversation=conversation, signals=[Signal.ERROR])

    def run(self, over: threading.Event) -> None:
        """Send what was counted once a second, and a last time when `over` is set."""
        while not over.wait(EVERY_S):
            self.publish()
        self.publish()

    def publish(self) -> None:
        """Send one record for each agent that has counts and whose last record was acknowledged."""
        for agent, future in list(self._futures.items()):
            if future.done():
                self._settle(agent, future)
        for agent, record in list(self._unsent.items()):
            if agent not in self._futures:
                self._try_to_send(agent, record)
        with self._lock:
            ready = [key for key in self._deltas if key.agent not in self._unsent]
            taken = {key.agent: key for key in reversed(ready)}  # one record an agent at a time, oldest first
            records = {agent: self._record(key, self._deltas.pop(key)) for agent, key in taken.items()}
        for agent, record in records.items():
            self._unsent[agent] = record
            self._try_to_send(agent, record)

    def _settle(self, agent: str, future: Future[Sent]) -> None:
        del self._futures[agent]
        fault = future.exception()
        assert fault is None or isinstance(fault, NotAcknowledged)
        _published.add(1, {"fate": "kept" if fault is None else "not_acknowledged"})
        if fault is None:
            del self._unsent[agent]

    def _try_to_send(self, agent: str, record: KafkaRecord) -> None:
        try:
            self._futures[agent] = self._send(record)
        except TooManyWaiting:
            _published.add(1, {"fate": "too_many_waiting"})

    def _record(self, key: CountKey, deltas: _Deltas) -> KafkaRecord:
        self._sequences[key.agent] += 1
        sequence = self._sequences[key.agent]
        versions: dict[str, dict[str, object]] = {
            version: {"conversations": number, "signals": {}}
            for version, number in deltas.conversations.items()
        }
        for signal, shown in deltas.signals.items():
            for name, version in shown.items():
                counts = versions.setdefault(version, {"conversations": 0, "signals": {}})
                by_signal = counts["signals"]
                assert isinstance(by_signal, dict)
                by_signal.setdefault(signal.value, []).append(name)
        data = {
            "agent": key.agent,
            "author": "gateway",
            "producer": self._producer,
            "sequence": sequence,
            "canary": key.canary,
            "share": key.share,
            "versions": versions,
        }
        headers = {
            "ce_specversion": "1.0",
            "ce_id": f"{self._producer}-{key.agent}-{sequence}",
            "ce_source": SOURCE,
            "ce_type": "clorad.live.v1",
            "ce_time": datetime.now(UTC).isoformat(),
            "content-type": "application/json",
        }
        return KafkaRecord(
            topic=INTERACTIONS_TOPIC,
            key=f"live {self._producer} {key.agent}".encode(),  # one partition: its records stay in order
            value=json.dumps(data).encode(),
            headers=tuple((name, value.encode()) for name, value in headers.items()),
        )

    def _is_first(self, key: CountKey, conversation: str) -> bool:
        """Whether the conversation was not counted yet while the canary had this share."""
        # Not the name itself: a client chooses its length.
        name = hashlib.blake2b(conversation.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        place = (key, name)
        if place in self._seen:
            self._seen.move_to_end(place)
            return False
        self._seen[place] = None
        if len(self._seen) > CONVERSATIONS_MAX:
            self._seen.popitem(last=False)
        return True

    def _name(self, conversation: str) -> str:
        """A name for the conversation that says nothing about it, the same in every gateway. 64 bits."""
        return self._fingerprint(conversation.encode("utf-8", "surrogatepass"))[:16]
