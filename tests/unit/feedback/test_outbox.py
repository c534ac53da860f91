"""Messages of the outbox reach Kafka in order, each at least once."""

import threading
from pathlib import Path

import pytest
from kafka import errors

from feedback import outbox as shipping
from ledger.intake import outbox
from tests.fakes.kafka import FakeKafka
from tests.unit.feedback.intake_builder import build_ledger, wait_until


@pytest.fixture
def owing(tmp_path: Path):
    ledger = build_ledger(tmp_path)

    def owe(topic: str, *values) -> None:
        with ledger.database.write() as connection:
            outbox.put_all(connection, [(topic, b"k", value, ()) for value in values])

    return ledger.database, owe


def _shipping(kafka: FakeKafka, database, stopping, **more) -> threading.Thread:
    publisher = shipping.Publisher(kafka, "ledger-1", ack_s_max=1.0)
    thread = threading.Thread(
        target=shipping.run, args=(database, publisher, stopping), kwargs=more, name="outbox"
    )
    thread.start()
    return thread


def test_what_is_owed_is_shipped_once_in_order_also_after_an_outage(owing) -> None:
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


def test_a_crash_between_sending_and_marking_sends_again_under_the_same_id(owing) -> None:
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
