"""Row 2. A broker is killed before it acknowledges (acks=all): what is sent again counts once, by its id."""

import json
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from deploy.kafka.broker import LocalBroker
from feedback import inspection
from feedback.outbox import MESSAGE_ID
from ledger.schema import dead_letters
from tests.faults.load import BROKEN
from tests.intake_process import StartIntake
from tests.kafka_broker import RealKafka
from tests.unit.feedback.event_builder import CORRECTION, build_headers
from tests.unit.feedback.intake_builder import IntakeLedger, wait_until

pytestmark = pytest.mark.kafka


def test_row_02_events_in_flight_arrive_once(
    own_broker: Callable[..., LocalBroker], ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    broker = own_broker()
    kafka = RealKafka(broker.bootstrap)
    topics = kafka.create_all()
    start_intake(topics, on=kafka)
    producer = kafka.cluster.producer(acks="all", linger_ms=20)
    ids, sent = set(), []
    for number in range(2000):
        ids.add(f"e-{number}")
        value = json.dumps(CORRECTION | {"corrected": str(number)}).encode()
        given = list(build_headers("correction", ce_id=b"e-%d" % number))
        sent.append(producer.send(topics.feedback, value=value, headers=given))
        if number == 1000:
            broker.kill()
            broker.start()
    for future in sent:
        future.get(timeout=90)
    producer.close(timeout=10)
    wait_until(lambda: set(ledger.ids()) == ids, wait_s=90)
    ledger.check_ranges()


def test_row_02_dead_letters_in_flight_have_one_id_each(
    own_broker: Callable[..., LocalBroker], ledger: IntakeLedger, start_intake: StartIntake
) -> None:
    broker = own_broker()
    kafka = RealKafka(broker.bootstrap)
    topics = kafka.create_all(partitions=1)
    start_intake(topics, on=kafka, ships=True)
    for number in range(60):
        kafka.send(topics.feedback, BROKEN, key=b"%d" % number, headers=build_headers("correction"))
        if number == 30:
            broker.kill()
            broker.start()
    wait_until(lambda: ledger.shipped_count() == 60, wait_s=90)
    (letters,) = inspection.extents(kafka.cluster, (topics.dead_letters,))
    ids = Counter(
        dict(record.headers)[MESSAGE_ID]
        for record in inspection.records(kafka.cluster, letters, start=0, end=letters.end)
    )
    assert len(ids) == ledger.column(select(func.count()).select_from(dead_letters))[0] == 60
