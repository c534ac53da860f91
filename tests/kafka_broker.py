"""A real Kafka broker for tests: one for the session, or one of a test's own to stop, kill and start again.

`KAFKA_BOOTSTRAP` points at one that runs already; tests that kill brokers still start their own.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from kafka import KafkaProducer

from deploy.kafka.broker import BrokerUnavailable, LocalBroker, free_port
from feedback.connection import Kafka
from feedback.topics import Topics


@dataclass(frozen=True)
class RealKafka:
    """A cluster, and what tests do to it that clorad never does."""

    bootstrap: str

    @property
    def cluster(self) -> Kafka:
        return Kafka(bootstrap_servers=self.bootstrap, bootstrap_ms_max=20_000)

    def create(self, partitions: int = 2, **configs: str) -> str:
        """A topic of this test's own."""
        name = f"t-{uuid.uuid4().hex[:12]}"
        self.create_named(name, partitions, **configs)
        return name

    def create_named(self, name: str, partitions: int = 2, replicas: int = 1, **configs: str) -> None:
        admin = self.cluster.admin()
        try:
            wanted = {name.replace("_", "."): value for name, value in configs.items()}
            admin.create_topics(
                {name: {"num_partitions": partitions, "replication_factor": replicas, "configs": wanted}}
            )
            admin.wait_for_topics([name])
        finally:
            admin.close()

    def create_all(self, partitions: int = 2, replicas: int = 1, **configs: str) -> Topics:
        """Four topics of this test's own."""
        names = {
            field: f"t-{uuid.uuid4().hex[:12]}" for field in ("feedback", "interactions", "dead_letters")
        }
        topics = Topics(**names, lifecycle=f"t-{uuid.uuid4().hex[:12]}")
        for name in topics.retention_days():
            self.create_named(name, partitions, replicas, **configs)
        return topics

    def delete(self, name: str) -> None:
        admin = self.cluster.admin()
        try:
            admin.delete_topics([name])
        finally:
            admin.close()

    def delete_records(self, name: str, partition: int, before: int) -> None:
        """As retention does."""
        from kafka import TopicPartition

        admin = self.cluster.admin()
        try:
            admin.delete_records({TopicPartition(name, partition): before})
        finally:
            admin.close()

    def say(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: tuple[tuple[str, bytes | None], ...] = (),
        partition: int = 0,
    ) -> int:
        """Send one record and wait for it. Returns its offset."""
        producer = self.cluster.producer(acks="all")
        try:
            sent = producer.send(
                topic,
                value=value,
                key=key if key is not None or value is not None else b"",
                headers=[(name, octets or b"") for name, octets in headers],
                partition=partition,
            )
            return int(sent.get(timeout=20).offset)
        finally:
            producer.close(timeout=5)

    def abandon(self, topic: str, records: int, *, partition: int = 0, commit: bool = False) -> None:
        """Records in a transaction that is aborted (or committed): holes for those who read committed."""
        producer: KafkaProducer = self.cluster.producer(transactional_id=uuid.uuid4().hex)
        try:
            producer.init_transactions()
            producer.begin_transaction()
            for number in range(records):
                producer.send(topic, value=b"%d" % number, partition=partition)
            producer.flush(timeout=20)
            if commit:
                producer.commit_transaction()
            else:
                producer.abort_transaction()
        finally:
            producer.close(timeout=5)

    def poison(self, topic: str, *, partition: int = 0) -> int:
        """A record that kafka-python cannot decode: its header's name is no UTF-8."""
        return self.say(topic, b"x", headers=((_NotUtf8("bad"), b""),), partition=partition)


class _NotUtf8(str):
    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


def _started(folder: Path, **properties: str) -> LocalBroker:
    """A broker on a free port; a port may be taken between being found free and being used."""
    complaint = ""
    for attempt in range(3):
        broker = LocalBroker(folder / str(attempt), free_port(), properties=properties)
        try:
            broker.start()
        except BrokerUnavailable as unavailable:
            complaint = str(unavailable)
        else:
            return broker
    _give_up(complaint)
    raise AssertionError


def _give_up(complaint: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(complaint)
    pytest.skip(complaint)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealKafka]:
    """One broker for all tests; each uses topics and groups of its own."""
    given = os.environ.get("KAFKA_BOOTSTRAP")
    if given:
        yield RealKafka(given)
        return
    broker = _started(tmp_path_factory.mktemp("kafka"))
    try:
        yield RealKafka(broker.bootstrap)
    finally:
        broker.kill()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Callable[..., LocalBroker]]:
    """Makes brokers that the test may stop and kill; none is left behind."""
    started: list[LocalBroker] = []

    def start(**properties: str) -> LocalBroker:
        names = {name.replace("_", "."): value for name, value in properties.items()}
        started.append(_started(tmp_path / f"kafka-{len(started)}", **names))
        return started[-1]

    yield start
    for broker in started:
        broker.kill()
