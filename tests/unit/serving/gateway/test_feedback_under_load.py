"""POST /v1/feedback with many senders at once, and without Kafka: a 202 means that Kafka has the event."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any

import httpx
import pytest

from feedback.producer import Producer
from ledger.database import Database
from tests.fakes.kafka import FakeKafka, FakeProducer, FakeSent
from tests.unit.serving.gateway.gateway_builder import RunningGateway, build_gateway, wait_until
from tests.unit.serving.serving_environment import build_environment

TOPIC = "clorad.feedback"
AT_ONCE = 40
WAITING_MAX = 25


class HeldKafka(FakeKafka):
    """Acknowledges records only once `acknowledge` is called."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[HeldSent] | None = []
        self.lock = Lock()

    def producer(self, **options: Any) -> FakeProducer:
        assert options["acks"] == "all"
        self.check()
        return HeldProducer(self)

    def acknowledge(self) -> None:
        """Acknowledge the waiting records, and all later ones at once."""
        with self.lock:
            waiting, self.held = self.held or [], None
        for sent in waiting:
            sent.deliver()


class HeldProducer(FakeProducer):
    def send(self, *record: Any, **fields: Any) -> Any:
        kafka: HeldKafka = self._kafka  # type: ignore[assignment]
        with kafka.lock:
            if kafka.held is None:
                return super().send(*record, **fields)
            sent = HeldSent(lambda: FakeProducer.send(self, *record, **fields))
            kafka.held.append(sent)
            return sent


class HeldSent(FakeSent):
    def __init__(self, write: Callable[[], FakeSent]) -> None:
        super().__init__()
        self.write = write
        self.calls: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def add_callback(self, call: Callable[..., object], *first: object) -> None:
        self.calls.append((call, first))

    def deliver(self) -> None:
        written = self.write()
        for call, first in self.calls:
            call(*first, written)


@contextmanager
def send_at_once(gateway: RunningGateway, ids: list[str]) -> Iterator[list[Future[httpx.Response]]]:
    """Send an event of each id, all at the same time."""
    with ThreadPoolExecutor(max_workers=len(ids)) as pool:
        yield [pool.submit(gateway.send, "/v1/feedback", event(id)) for id in ids]


def event(id: str) -> dict[str, Any]:
    data = {
        "agent": "billing",
        "author": "ann",
        "messages": [{"role": "user", "content": "close ticket 7"}],
        "rejected": "no",
        "corrected": "yes",
    }
    named = {"specversion": "1.0", "id": id, "source": "ide", "type": "clorad.correction.v1"}
    return {**named, "data": data}


def ids_in_topic(kafka: FakeKafka) -> list[str]:
    return sorted(dict(record.headers)["ce_id"].decode() for record in kafka.sent_records(TOPIC))


@pytest.fixture
def ledger(tmp_path):
    with build_environment(tmp_path) as environment:
        environment.agent("billing")
        yield environment.database


@contextmanager
def gateway_with(ledger: Any, kafka: FakeKafka, **producing: Any) -> Iterator[RunningGateway]:
    kafka.create_named(TOPIC, 3)
    producer = Producer(kafka, in_flight_max=WAITING_MAX, **producing)
    try:
        with build_gateway(ledger, send=producer.send, ack_s_max=20.0) as gateway:
            wait_until(lambda: gateway.document("/routing").get("agents"))
            yield gateway
    finally:
        producer.close()


def test_a_202_comes_after_kafka_and_the_number_of_waiting_senders_is_bounded(ledger: Database) -> None:
    kafka = HeldKafka()
    ids = [f"e-{number}" for number in range(AT_ONCE)]
    with gateway_with(ledger, kafka) as gateway, send_at_once(gateway, ids) as answers:
        wait_until(lambda: sum(answer.done() for answer in answers) == AT_ONCE - WAITING_MAX)
        assert {answer.result().status_code for answer in answers if answer.done()} == {503}
        assert len(kafka.held or ()) == WAITING_MAX, "and none of these is answered"
        assert ids_in_topic(kafka) == []
        kafka.acknowledge()
        responses = [answer.result(timeout=20) for answer in answers]
        accepted = sorted(answer.json()["id"] for answer in responses if answer.status_code == 202)
        assert len(accepted) == WAITING_MAX
        assert ids_in_topic(kafka) == accepted
        assert gateway.send("/v1/feedback", event("later")).status_code == 202, "places are free again"


def test_while_kafka_is_away_every_sender_gets_a_503(ledger: Database) -> None:
    kafka = FakeKafka()
    kafka.away = True
    ids = [f"e-{number}" for number in range(AT_ONCE)]
    with gateway_with(ledger, kafka, ack_s_max=0.5) as gateway:
        with send_at_once(gateway, ids) as answers:
            assert {answer.result(timeout=20).status_code for answer in answers} == {503}
        assert ids_in_topic(kafka) == []
        kafka.away = False
        with send_at_once(gateway, ids[:WAITING_MAX]) as answers:
            accepted = {
                answer.result().json()["id"] for answer in answers if answer.result().status_code == 202
            }
        assert accepted <= set(ids_in_topic(kafka))
        assert accepted
