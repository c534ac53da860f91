"""Feedback over HTTP while the broker is killed and comes back: every 202 is in the topic."""

import json
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from kafka import TopicPartition

from feedback.connection import Kafka
from feedback.producer import Producer
from feedback.topics import Topics, create
from tests.unit.serving.gateway.gateway_builder import RunningGateway, build_gateway, wait_until
from tests.unit.serving.gateway.test_feedback_under_load import TOPIC, event
from tests.unit.serving.serving_environment import build_environment

pytestmark = pytest.mark.kafka

PEOPLE = 8
WAITING_MAX = 4
WAIT_S = 90.0


class Person:
    """Says one thing after the other, each until it is taken, and remembers what was promised."""

    def __init__(self, gateway: RunningGateway, stopping: threading.Event) -> None:
        self.gateway, self.stopping = gateway, stopping
        self.promised: dict[str, tuple[int, int]] = {}
        self.answers: Counter[int] = Counter()

    def talk(self) -> None:
        while not self.stopping.is_set():
            id = uuid.uuid4().hex
            while not self.stopping.is_set():
                answer = self.gateway.send("/v1/feedback", event(id))
                self.answers[answer.status_code] += 1
                if answer.status_code == 202:
                    document = answer.json()
                    self.promised[id] = (document["partition"], document["offset"])
                    break
                self.stopping.wait(0.05)  # or those who are refused at once would take all of the machine


def in_topic(cluster: Kafka) -> dict[tuple[int, int], str]:
    consumer = cluster.consumer(group_id=None, auto_offset_reset="earliest")
    try:
        places = [TopicPartition(TOPIC, number) for number in range(2)]
        consumer.assign(places)
        missing, ids = sum(consumer.end_offsets(places).values()), {}
        while len(ids) < missing:
            for records in consumer.poll(timeout_ms=1000).values():
                for record in records:
                    assert json.loads(record.value)["agent"] == "billing"
                    ids[record.partition, record.offset] = dict(record.headers)["ce_id"].decode()
        return ids
    finally:
        consumer.close()


def test_every_202_is_in_the_topic_though_the_broker_was_killed_meanwhile(own_broker, tmp_path):
    broker = own_broker()
    cluster = Kafka(bootstrap_servers=broker.bootstrap, options={}, bootstrap_ms_max=20_000)
    create(cluster, Topics(), partitions=2, replication=1)
    producer = Producer(cluster, in_flight_max=WAITING_MAX, ack_s_max=2.0)
    stopping = threading.Event()
    with build_environment(tmp_path) as environment, ThreadPoolExecutor(max_workers=PEOPLE) as pool:
        environment.agent("billing")
        with build_gateway(environment.database, send=producer.send, ack_s_max=4.0) as gateway:
            wait_until(lambda: gateway.get("/routing").json()["agents"])
            people = [Person(gateway, stopping) for _ in range(PEOPLE)]
            talking = [pool.submit(person.talk) for person in people]
            try:
                taken = count(people, 202)
                wait_until(lambda: count(people, 202) > taken + 100, wait_s_max=WAIT_S)
                broker.kill()
                refused = count(people, 503)
                wait_until(lambda: count(people, 503) > refused + 2 * PEOPLE, wait_s_max=WAIT_S)
                broker.start()
                taken = count(people, 202)
                wait_until(lambda: count(people, 202) > taken + 100, wait_s_max=WAIT_S)
            finally:
                stopping.set()
            for future in talking:
                future.result(timeout=WAIT_S)
    producer.close()
    assert {code for person in people for code in person.answers} == {202, 503}
    kept = in_topic(cluster)
    promised = {id: place for person in people for id, place in person.promised.items()}
    assert promised.keys() - set(kept.values()) == set()
    known = {id: place for id, place in promised.items() if place[1] >= 0}  # -1: the broker had it already
    assert {id for id, place in known.items() if kept.get(place) != id} == set()


def count(people: list[Person], code: int) -> int:
    return sum(person.answers[code] for person in people)
