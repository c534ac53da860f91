"""An event is acknowledged by Kafka or refused, and the number of those that wait is bounded."""

import threading

import pytest
from kafka import errors

from feedback.producer import KafkaRecord, NotAcknowledged, Producer, TooManyWaiting
from tests.fakes.kafka import FakeKafka, FakeSent
from tests.unit.feedback.intake_builder import wait_until


def test_no_more_events_wait_than_may() -> None:
    kafka = FakeKafka()
    topic = kafka.create()
    held = threading.Event()

    class Slow(FakeKafka):
        def producer(self, **own):
            held.wait(10)
            return kafka.producer(**own)

    producer = Producer(Slow(), in_flight_max=2)
    record = KafkaRecord(topic=topic, key=b"k", value=b"v")
    waiting = [producer.send(record) for _ in range(2)]
    with pytest.raises(TooManyWaiting):
        producer.send(record)
    held.set()
    assert [future.result(timeout=10).offset for future in waiting] == [0, 1]
    wait_until(lambda: producer.send(record).result(timeout=10).offset >= 2)
    producer.close()


def test_while_kafka_is_away_events_are_refused_and_later_ones_go_through() -> None:
    kafka = FakeKafka()
    topic = kafka.create()
    kafka.away = True
    producer = Producer(kafka, ack_s_max=0.5)
    record = KafkaRecord(topic=topic, key=b"k", value=b"v")
    with pytest.raises(NotAcknowledged, match="KafkaConnectionError"):
        producer.send(record).result(timeout=10)
    kafka.away = False
    assert producer.send(record).result(timeout=10).offset == 0
    producer.close()


def test_a_client_that_did_not_deliver_is_not_asked_again() -> None:
    class Sulking(FakeKafka):
        """Its first client never gets over the outage: out of sequence for good."""

        def producer(self, **own):
            made = super().producer(**own)
            self.clients = getattr(self, "clients", 0) + 1
            if self.clients == 1:
                made.send = lambda *_, **__: FakeSent(fault=errors.OutOfOrderSequenceNumberError())
            return made

    kafka = Sulking()
    topic = kafka.create()
    producer = Producer(kafka)
    record = KafkaRecord(topic=topic, key=b"k", value=b"v")
    with pytest.raises(NotAcknowledged, match="OutOfOrderSequenceNumberError"):
        producer.send(record).result(timeout=10)
    assert producer.send(record).result(timeout=10).offset == 0
    assert kafka.clients == 2
    producer.close()


def test_a_caller_that_gave_up_does_not_stop_the_producer() -> None:
    kafka = FakeKafka()
    topic = kafka.create()
    producer = Producer(kafka)
    record = KafkaRecord(topic=topic, key=b"k", value=b"v")
    producer.send(record).cancel()
    assert producer.send(record).result(timeout=10).topic == topic
    producer.close()
