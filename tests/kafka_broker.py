"""A real Kafka broker for tests: one for the session, or one of a test's own to stop, kill and start again.

`KAFKA_BOOTSTRAP` names one that runs already; tests that kill brokers still start their own.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest
from kafka import KafkaProducer, errors

from deploy.kafka.broker import BrokerUnavailable, LocalBroker, free_port, new_cluster_id
from feedback.connection import Kafka
from feedback.topics import Topics
from tests.relay import Relay


@dataclass(frozen=True)
class RealKafka:
    """A cluster, and what tests do with it that clorad never does."""

    bootstrap: str

    @property
    def cluster(self) -> Kafka:
        return Kafka(bootstrap_servers=self.bootstrap, options={}, bootstrap_ms_max=20_000)

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

    def grow(self, name: str, partitions: int) -> None:
        """The topic has so many partitions from now on."""
        admin = self.cluster.admin()
        try:
            admin.create_partitions({name: partitions})
        finally:
            admin.close()

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

    def group_state(self, group: str) -> str:
        """Stable, PreparingRebalance, CompletingRebalance, Empty or Dead."""
        admin = self.cluster.admin()
        try:
            return str(admin.describe_groups([group])[group]["group_state"])
        finally:
            admin.close()

    def committed(self, group: str, topic: str) -> dict[int, int]:
        """What the group has committed of each partition of the topic."""
        admin = self.cluster.admin()
        try:
            offsets = admin.list_group_offsets({group: None})[group]
            return {
                partition.partition: committed.offset
                for partition, committed in offsets.items()
                if partition.topic == topic
            }
        finally:
            admin.close()

    def send(
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

    def send_transaction(self, topic: str, records: int, *, partition: int = 0, commit: bool = False) -> None:
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

    def send_undecodable(self, topic: str, *, partition: int = 0) -> int:
        """A record that kafka-python cannot decode: its header's name is no UTF-8."""
        return self.send(topic, b"x", headers=((_NotUtf8("bad"), b""),), partition=partition)


class _NotUtf8(str):
    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


def _started(folder: Path, **properties: str) -> LocalBroker:
    """A broker on a free port, which another process may take before the broker does: three tries."""
    complaint = ""
    for attempt in range(3):
        broker = LocalBroker(folder / str(attempt), free_port(), properties=properties)
        try:
            broker.start()
        except BrokerUnavailable as unavailable:
            complaint = str(unavailable)
        else:
            return broker
    return give_up(complaint)


def give_up(complaint: str) -> NoReturn:
    """Skip the test for want of a broker; in CI that is a failure."""
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


@dataclass
class Relayed:
    """A broker with two ports: a plain one for the test, and one behind a relay."""

    broker: LocalBroker
    relay: Relay
    port: int

    @property
    def kafka(self) -> RealKafka:
        return RealKafka(self.broker.bootstrap)

    @property
    def through(self) -> RealKafka:
        return RealKafka(f"127.0.0.1:{self.relay.port}")

    def move(self) -> Relay:
        """Restart the broker, which names another relay as its address from then on."""
        moved = Relay(self.port)
        plain = int(self.broker.bootstrap.rpartition(":")[2])
        self.broker.stop()
        self.broker = LocalBroker(self.broker.data, plain, properties=_two_ways(plain, self.port, moved.port))
        self.broker.start()
        return moved


def _two_ways(plain: int, relayed: int, relay: int) -> dict[str, str]:
    controller = free_port()
    return {
        "listeners": f"PLAINTEXT://127.0.0.1:{plain},RELAYED://127.0.0.1:{relayed},"
        f"CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{plain},RELAYED://127.0.0.1:{relay}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,RELAYED:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
    }


@pytest.fixture
def relayed(tmp_path: Path) -> Iterator[Relayed]:
    """A broker of this test's own, behind a relay."""
    plain, port = free_port(), free_port()
    relay = Relay(port)
    properties = _two_ways(plain, port, relay.port)
    relayed_broker = Relayed(LocalBroker(tmp_path / "relayed", plain, properties=properties), relay, port)
    try:
        relayed_broker.broker.start()
    except BrokerUnavailable as complaint:
        give_up(str(complaint))
    try:
        yield relayed_broker
    finally:
        relay.close()
        relayed_broker.broker.kill()


@dataclass(frozen=True)
class ThreeBrokers:
    """A cluster of three, each of which a test may kill and start again."""

    brokers: tuple[LocalBroker, ...]

    @property
    def kafka(self) -> RealKafka:
        return RealKafka(",".join(broker.bootstrap for broker in self.brokers))

    def coordinator_of(self, group: str) -> LocalBroker | None:
        """The broker that coordinates that consumer group; None while nobody can say."""
        admin = self.kafka.cluster.admin()
        try:
            return self.brokers[admin._manager.run(admin._find_coordinator_ids, [group])[group] - 1]
        except errors.RetriableError:
            return None
        finally:
            admin.close()


@pytest.fixture
def three_brokers(tmp_path: Path) -> Iterator[ThreeBrokers]:
    """Three brokers of this test's own, internal topics on all of them."""
    ports, controllers = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
    voters = ",".join(f"{node}@127.0.0.1:{port}" for node, port in enumerate(controllers, start=1))
    cluster_id = new_cluster_id()
    brokers = tuple(
        LocalBroker(
            tmp_path / f"kafka-{node}",
            port,
            node=node,
            cluster_id=cluster_id,
            properties={
                "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
                "controller.quorum.voters": voters,
                "offsets.topic.replication.factor": "3",
                "transaction.state.log.replication.factor": "3",
            },
        )
        for node, (port, controller) in enumerate(zip(ports, controllers, strict=True), start=1)
    )
    try:
        for broker in brokers:
            broker.launch()
        for broker in brokers:
            broker.wait_ready(ready_s_max=150.0)
    except BrokerUnavailable as complaint:
        for broker in brokers:
            broker.kill()
        give_up(str(complaint))
    try:
        yield ThreeBrokers(brokers)
    finally:
        for broker in brokers:
            broker.kill()
