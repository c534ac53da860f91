"""Row 31. Gateways' counts over a real broker: whoever is killed meanwhile, no conversation counts twice.

What the canary is judged by is what gateways published and Kafka acknowledged, each record once.
"""

import signal
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from feedback.event_record import signed_record
from feedback.producer import KafkaRecord, Producer, Sent
from feedback.signing import gateway_key
from ledger.events import Signal
from ledger.identity import Identity, ensure_identity
from ledger.versions.decisions import Verdict
from ledger.versions.live_counts import CountedSignals, canary_counts
from ledger.versions.routing import is_in_share
from serving.gateway.live_counter import CountKey, LiveCounter
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.intake_builder import wait_until
from tests.unit.serving.canary.test_watching import Watched
from tests.unit.serving.serving_environment import build_environment

pytestmark = pytest.mark.kafka


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with build_environment(tmp_path) as environment:
        yield Watched(environment)


@dataclass(slots=True)
class CountingGateway:
    """A gateway that counts. It sends each record `times` times, as after a lost acknowledgement."""

    watched: Watched
    producer: Producer
    topic: str
    identity: Identity
    times: int = 1
    expected: dict[str, int] = field(default_factory=lambda: {"canary": 0, "champion": 0})
    _counted: int = 0
    _sent: list[Future[Sent]] = field(default_factory=list)
    _counter: LiveCounter | None = None

    def count(self, conversations: int) -> None:
        """So many new conversations, of which each that the canary answers shows an error; sent to Kafka."""
        counter = self._counter = self._counter or LiveCounter(self._send, self.identity.fingerprint)
        share, canary = self.watched.share(), self.watched.canary.name
        for number in range(self._counted, self._counted + conversations):
            name = f"conversation {number}"
            is_canarys = is_in_share(name, canary, share)
            counter.count(
                CountKey("billing", canary, share),
                version=canary if is_canarys else self.watched.champion.name,
                conversation=name,
                signals=[Signal.ERROR] if is_canarys else (),
            )
            self.expected["canary" if is_canarys else "champion"] += 1
        self._counted += conversations
        counter.publish()
        for future in self._sent:
            future.result(timeout=30.0)

    def be_killed(self) -> None:
        """What was not sent is gone; the next process has another name and counts from 1."""
        self._counter = None

    def _send(self, record: KafkaRecord) -> Future[Sent]:
        own = signed_record(replace(record, topic=self.topic), gateway_key(self.identity))
        self._sent += [self.producer.send(own) for _ in range(self.times)]
        return self._sent[-1]


def counted(watched: Watched) -> CountedSignals:
    with watched.database.read() as connection:
        return canary_counts(connection, "billing", watched.canary.name)


def test_row_31_counts_are_exact_whoever_is_killed_and_the_canary_is_judged_by_them(
    kafka: RealKafka, watched: Watched, start_intake: StartIntake
) -> None:
    topics = kafka.create_all(partitions=1)
    identity, url = ensure_identity(watched.database), watched.database.url
    producer = Producer(kafka.cluster)
    gateway = CountingGateway(watched, producer, topics.interactions, identity, times=2)
    options = {"records_max": 3, "unsigned_captures": False}
    share = watched.share()
    try:
        for point in ("intake-polled", "intake-in-transaction", "intake-before-commit"):
            gateway.count(40)
            killed = start_intake(topics, ledger_url=url, options=options, failpoint=point)
            gateway.count(40)
            assert killed.wait() == -signal.SIGKILL
            gateway.be_killed()
        start_intake(topics, ledger_url=url, options=options)
        gateway.count(40)
        while gateway.expected["canary"] < 12:  # enough for a verdict
            gateway.count(40)
    finally:
        producer.close()
    wait_until(lambda: sum(counted(watched).conversations.values()) >= sum(gateway.expected.values()))
    shown = counted(watched)
    assert shown.conversations[share, True] == shown.signals[Signal.ERROR, share, True]
    assert gateway.expected == {
        "canary": shown.conversations[share, True],
        "champion": shown.conversations[share, False],
    }
    watched.watch.look()
    assert (watched.last().verdict, watched.serving()) == (Verdict.ROLLBACK, watched.champion.number)
