"""What leaves us is checked, redacted, acknowledged or refused, and what is owed is shipped."""

import json
import threading
from datetime import UTC, datetime

import pytest
from kafka import errors

from feedback import outbox as shipping
from feedback.backoff import Backoff
from feedback.event_record import build_event_record
from feedback.producer import KafkaRecord, NotAcknowledged, Producer, TooManyWaiting
from feedback.redaction import Redactor
from feedback.schemas import names, schema
from ledger.events import Event, Interaction
from ledger.intake import outbox
from tests.fakes.kafka import FakeKafka, FakeSent
from tests.unit.feedback.event_builder import (
    CORRECTION,
    EVENT_DATA,
    IDENTITY,
    INTERACTION,
    RECEIVED_S,
    build_reader,
)
from tests.unit.feedback.intake_builder import build_ledger, wait_until

REDACTOR = Redactor(IDENTITY.fingerprint)


def _sent(kind="correction", data=CORRECTION, **changed) -> KafkaRecord:
    return build_event_record(kind, data, topic="t", source="ide", redactor=REDACTOR, **changed)


def _read(record: KafkaRecord):
    return (
        build_reader()
        .read(offset=0, key=record.key, value=record.value, headers=record.headers, received_s=RECEIVED_S)
        .content
    )


@pytest.mark.parametrize("kind", sorted(EVENT_DATA))
def test_what_we_send_is_what_intake_reads(kind):
    content = _read(_sent(kind, EVENT_DATA[kind], event_id="e-1", at=datetime(2026, 11, 22, tzinfo=UTC)))
    assert isinstance(content, Interaction if kind == "interaction" else Event)
    assert content.id == "e-1"


def test_events_of_a_conversation_share_a_key_else_those_of_one_feedback_key():
    assert _sent(data=CORRECTION | {"conversation": "c-1", "key": "k-1"}).key == b"c-1"
    assert _sent(data=CORRECTION | {"key": "k-1"}).key == b"k-1"
    assert _sent(event_id="e-1").key == b"e-1"


def test_what_is_wrong_is_named_before_it_is_sent():
    with pytest.raises(ValueError, match="corrected: string_too_short"):
        _sent(data=CORRECTION | {"corrected": ""})
    with pytest.raises(ValueError, match="unknown type"):
        _sent("praise")


def test_texts_are_redacted_and_names_stay_tellable_apart():
    record = _sent(data=CORRECTION | {"author": "jane@example.com", "comment": "ask jane@example.com"})
    data = json.loads(record.value)
    assert data["comment"] == "ask [email]"
    assert data["author"].startswith("redacted:")
    assert _read(record).author == data["author"]


def test_an_interaction_that_redaction_changed_is_sent_without_tokens():
    clean = json.loads(_sent("interaction", INTERACTION).value)
    changed = json.loads(_sent("interaction", INTERACTION | {"completion": "ask jane@example.com"}).value)
    assert clean["token_ids"] == INTERACTION["token_ids"]
    assert "token_ids" not in changed
    assert "logprobs" not in changed


def test_every_type_has_a_schema_with_its_fields_described():
    for name in names():
        made = schema(name)
        assert made["title"] == name
        assert made["properties"]["agent"]["description"]
    assert schema("correction") == schema("clorad.correction.v1")
    with pytest.raises(ValueError, match="unknown type"):
        schema("praise")


def test_no_more_events_wait_than_may():
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
    assert [one.result(timeout=10).offset for one in waiting] == [0, 1]
    wait_until(lambda: producer.send(record).result(timeout=10).offset >= 2)
    producer.close()


def test_while_kafka_is_away_events_are_refused_and_later_ones_go_through():
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


def test_a_client_that_did_not_deliver_is_not_asked_again():
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


def test_a_caller_that_gave_up_does_not_stop_the_producer():
    kafka = FakeKafka()
    topic = kafka.create()
    producer = Producer(kafka)
    record = KafkaRecord(topic=topic, key=b"k", value=b"v")
    producer.send(record).cancel()
    assert producer.send(record).result(timeout=10).topic == topic
    producer.close()


@pytest.fixture
def owing(tmp_path):
    ledger = build_ledger(tmp_path)

    def owe(topic, *values):
        with ledger.database.write() as connection:
            outbox.put_all(connection, [(topic, b"k", value, ()) for value in values])

    return ledger.database, owe


def _shipping(kafka, database, stopping, **more) -> threading.Thread:
    publisher = shipping.Publisher(kafka, "ledger-1", ack_s_max=1.0)
    thread = threading.Thread(
        target=shipping.run, args=(database, publisher, stopping), kwargs=more, name="outbox"
    )
    thread.start()
    return thread


def test_what_is_owed_is_shipped_once_in_order_also_after_an_outage(owing):
    database, owe = owing
    kafka, stopping = FakeKafka(), threading.Event()
    topic = kafka.create(partitions=1)
    kafka.away = True
    owe(topic, b"1", b"2")
    thread = _shipping(kafka, database, stopping)
    kafka.away = False
    wait_until(lambda: outbox.depth(database)[0] == 0)
    kafka.refused = errors.NotEnoughReplicasError
    owe(topic, b"3")
    wait_until(lambda: outbox.depth(database)[0] == 1)
    kafka.refused = None
    wait_until(lambda: outbox.depth(database)[0] == 0)
    stopping.set()
    thread.join(10)
    assert [record.value for record in kafka.sent_records(topic)] == [b"1", b"2", b"3"]


def test_a_crash_between_sending_and_marking_sends_again_under_the_same_id(owing):
    database, owe = owing
    kafka = FakeKafka()
    topic = kafka.create(partitions=1)
    owe(topic, b"1")

    class Killed(BaseException):
        pass

    def die(_: str) -> None:
        raise Killed

    publisher = shipping.Publisher(kafka, "ledger-1")
    with pytest.raises(Killed):
        shipping.ship(database, publisher, reached=die)
    assert shipping.ship(database, publisher) == (1, True)
    assert shipping.ship(database, publisher) == (0, True)
    ids = [dict(record.headers)[shipping.MESSAGE_ID] for record in kafka.sent_records(topic)]
    assert ids == [b"ledger-1/1", b"ledger-1/1"]


def test_patience_doubles_up_to_its_bound_and_starts_again():
    backoff = Backoff(first_s=1.0, s_max=8.0)
    waits = [backoff.next_s() for _ in range(6)]
    assert all(limit / 2 <= wait <= limit for wait, limit in zip(waits, (1, 2, 4, 8, 8, 8), strict=True))
    backoff.reset()
    assert backoff.next_s() <= 1.0
