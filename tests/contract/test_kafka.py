"""What intake and outbox need from Kafka: a real broker and the fake pass the same tests."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from kafka import TopicPartition, errors

from deploy.kafka.broker import LocalBroker
from feedback.cluster_state import read_cluster
from feedback.connection import Kafka, is_passing
from feedback.outbox import MESSAGE_ID, Publisher
from feedback.producer import KafkaRecord, NotAcknowledged, Producer, TooManyWaiting
from feedback.source import OutOfRange, Source, Undecodable
from feedback.topics import SettingsUnknown, Topics, create, shortfalls, topic_state
from ledger.intake.outbox import OutboxMessage
from tests.fakes.kafka import FakeKafka
from tests.kafka_broker import RealKafka

WAIT_S = 20.0


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.kafka)])
def broker(request: pytest.FixtureRequest) -> Any:
    return FakeKafka() if request.param == "fake" else request.getfixturevalue("kafka")


@pytest.fixture
def member(broker: Any) -> Iterator[Any]:
    """Makes members of this test's group."""
    group, made = f"g-{uuid.uuid4().hex[:8]}", []

    def join(*topics: str) -> Source:
        made.append(Source(broker.cluster, topics, group=group, instance=None, session_ms=6000))
        return made[-1]

    yield join
    for source in made:
        source.close()


def poll_until(done, *sources: Source, placed: dict | None = None) -> list:
    """Poll all sources in turn, placing what is new at `placed` (or 0), until `done`; what was polled."""
    polled, until = [], time.monotonic() + WAIT_S
    while not done(polled):
        assert time.monotonic() < until, "Kafka did not do it in time"
        for source in sources:
            for partition in list(source.unplaced):
                source.read_from(partition, (placed or {}).get(partition, 0))
            for batch in source.poll(frozenset(source.positions), wait_ms=100, records_max=100):
                source.positions[batch.partition] = batch.end
                polled.append(batch)
    return polled


def stage_topics() -> Topics:
    """Names of this test's own."""
    fields = ("feedback", "interactions", "dead_letters", "lifecycle")
    return Topics(**{field: f"t-{uuid.uuid4().hex[:8]}" for field in fields})


def values_of(polled: list) -> list[bytes]:
    return [record.value for batch in polled for record in batch.records]


def test_the_ends_of_a_topic_are_those_of_all_its_partitions_whoever_reads_them(
    broker: Any, member: Any
) -> None:
    topic = broker.create(partitions=3)
    source, other = member(topic), member(topic)
    broker.send(topic, b"v", partition=1)
    broker.send_transaction(topic, 1, partition=2)
    poll_until(lambda _: source.positions and other.positions, source, other)
    for either in (source, other):
        assert either.ends(topic) == {0: 0, 1: 1, 2: 2}, "past what was aborted, and its marker"


def test_reading_begins_where_it_is_told(broker: Any, member: Any) -> None:
    topic = broker.create(partitions=2)
    for number in range(4):
        broker.send(topic, b"%d" % number)
    source = member(topic)
    polled = poll_until(
        lambda polled: len(values_of(polled)) == 2, source, placed={TopicPartition(topic, 0): 2}
    )
    assert values_of(polled) == [b"2", b"3"]
    assert polled[0].start == 2
    assert source.positions == {TopicPartition(topic, 0): 4, TopicPartition(topic, 1): 0}


def test_nothing_is_read_before_it_is_placed(broker: Any, member: Any) -> None:
    topic = broker.create()
    broker.send(topic, b"x")
    source = member(topic)
    for _ in range(30):
        assert source.poll(frozenset(), wait_ms=100, records_max=10) == []
    assert source.unplaced == {TopicPartition(topic, 0), TopicPartition(topic, 1)}
    assert source.positions == {}


def test_a_member_hears_from_the_brokers(broker: Any, member: Any) -> None:
    topic = broker.create()
    broker.send(topic, b"x")
    source = member(topic)
    poll_until(bool, source)
    assert source.silent_s() < WAIT_S


def test_a_record_comes_as_it_was_sent(broker: Any, member: Any) -> None:
    topic = broker.create(partitions=1)
    broker.send(topic, b"\xff\x00", key=b"\xfe", headers=(("a", b"1"), ("a", b"\xff")))
    (batch,) = poll_until(bool, member(topic))
    (record,) = batch.records
    assert (record.offset, record.key, record.value) == (0, b"\xfe", b"\xff\x00")
    assert tuple(record.headers) == (("a", b"1"), ("a", b"\xff"))
    assert abs(record.timestamp / 1000 - time.time()) < WAIT_S


def test_a_tombstone_has_no_value(broker: Any, member: Any) -> None:
    topic = broker.create(partitions=1)
    broker.send(topic, None, key=b"k")
    (batch,) = poll_until(bool, member(topic))
    assert batch.records[0].value is None


def test_going_back_reads_the_same_again(broker: Any, member: Any) -> None:
    topic = broker.create(partitions=1)
    for number in range(3):
        broker.send(topic, b"%d" % number)
    source = member(topic)
    partition = TopicPartition(topic, 0)
    poll_until(lambda _: partition in source.positions, source)
    source.read_from(partition, 0)
    first = poll_until(lambda polled: len(values_of(polled)) == 3, source)
    source.positions[partition] = 1
    source.rewind()
    again = poll_until(lambda polled: len(values_of(polled)) == 2, source)
    assert values_of(first)[1:] == values_of(again)


def test_paused_partitions_are_not_read_and_lose_nothing(broker: Any, member: Any) -> None:
    topic = broker.create(partitions=2)
    for partition in (0, 1):
        broker.send(topic, b"%d" % partition, partition=partition)
    source = member(topic)
    first, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
    poll_until(lambda _: first in source.positions and other in source.positions, source)
    for partition in (first, other):
        source.read_from(partition, 0)
    alone = []
    for _ in range(20):
        alone += source.poll(frozenset({other}), wait_ms=100, records_max=10)
        source.positions.update({polled.partition: polled.end for polled in alone})
    assert values_of(alone) == [b"1"]
    assert values_of(poll_until(bool, source)) == [b"0"]


def test_positions_pass_aborted_records_and_markers(broker: Any, member: Any) -> None:
    topic = broker.create(partitions=1)
    broker.send(topic, b"before")
    broker.send_transaction(topic, 3)
    broker.send_transaction(topic, 1, commit=True)
    source = member(topic)
    partition = TopicPartition(topic, 0)
    polled = poll_until(lambda _: source.positions.get(partition) == 1 + 4 + 2, source)
    assert values_of(polled) == [b"before", b"0"]
    assert source.bounds(partition) == (0, 7)
    assert source.lag() == {partition: 0}


def test_a_position_below_the_log_is_out_of_range(broker: Any, member: Any) -> None:
    topic = broker.create(partitions=1)
    for _ in range(5):
        broker.send(topic, b"x")
    broker.delete_records(topic, 0, 3)
    source = member(topic)
    with pytest.raises(OutOfRange) as complaint:
        poll_until(lambda _: False, source)
    assert complaint.value.partition == TopicPartition(topic, 0)
    assert source.bounds(TopicPartition(topic, 0)) == (3, 5)
    source.read_from(TopicPartition(topic, 0), 3)
    assert len(values_of(poll_until(lambda polled: len(values_of(polled)) == 2, source))) == 2


def test_a_position_above_the_log_is_out_of_range(broker: Any, member: Any) -> None:
    topic = broker.create(partitions=1)
    source = member(topic)
    with pytest.raises(OutOfRange):
        poll_until(lambda _: False, source, placed={TopicPartition(topic, 0): 9})


def test_what_cannot_be_decoded_is_complained_about_and_can_be_passed_over(broker: Any, member: Any) -> None:
    topic = broker.create(partitions=1)
    broker.send(topic, b"before")
    poison = broker.send_undecodable(topic)
    broker.send(topic, b"after")
    source, partition, seen = member(topic), TopicPartition(topic, 0), []
    with pytest.raises(Undecodable):
        poll_until(lambda polled: seen.extend(polled[len(seen) :]), source)
    assert values_of(seen) == [b"before"]
    assert source.positions[partition] == poison
    source.read_from(partition, poison + 1)
    assert values_of(poll_until(bool, source)) == [b"after"]


def test_other_partitions_are_read_while_a_poisoned_one_is_paused(broker: Any, member: Any) -> None:
    topic = broker.create(partitions=2)
    broker.send_undecodable(topic)
    source, healthy = member(topic), TopicPartition(topic, 1)
    with pytest.raises(Undecodable):
        poll_until(lambda _: False, source)
    broker.send(topic, b"fine", partition=1)
    until, values = time.monotonic() + WAIT_S, []
    while not values and time.monotonic() < until:
        values += values_of(source.poll(frozenset({healthy}), wait_ms=100, records_max=10))
    assert values == [b"fine"]


def test_members_share_the_partitions_and_take_over_from_each_other(broker: Any, member: Any) -> None:
    topic = broker.create(partitions=4)
    first = member(topic)
    poll_until(lambda _: len(first.positions) == 4, first)
    second = member(topic)
    poll_until(lambda _: len(first.positions) == len(second.positions) == 2, first, second)
    assert not first.positions.keys() & second.positions.keys()
    first.close()
    poll_until(lambda _: len(second.positions) == 4, second)


def test_hints_carry_a_note_that_later_members_see(broker: Any, member: Any) -> None:
    topic = broker.create(partitions=1)
    broker.send(topic, b"x")
    source, partition = member(topic), TopicPartition(topic, 0)
    poll_until(bool, source)
    assert source.committed(partition) is None
    source.commit_and_wait("ledger-1")
    source.close()
    other = member(topic)
    poll_until(lambda _: partition in other.positions, other)
    assert other.committed(partition) == (1, "ledger-1")


def test_topics_are_created_once_and_described_by_id(broker: Any) -> None:
    topics = stage_topics()
    names = topics.retention_days()
    assert [topic.topic_id for topic in topic_state(broker.cluster, topics)] == [None] * 4
    assert set(create(broker.cluster, topics, partitions=3, replication=1)) == set(names)
    assert create(broker.cluster, topics, partitions=3, replication=1) == ()
    described = topic_state(broker.cluster, topics)
    assert [topic.partitions for topic in described] == [3] * 4
    assert len({topic.topic_id for topic in described}) == 4


def test_topics_as_we_make_them_lack_nothing(broker: Any) -> None:
    topics = stage_topics()
    create(broker.cluster, topics, partitions=1, replication=1)
    assert shortfalls(broker.cluster, topics, replication=1) == ()
    assert shortfalls(broker.cluster, broker.create_all(), replication=1) == (), (
        "Kafka's own settings will do"
    )


def test_settings_under_which_feedback_may_be_lost_are_named(broker: Any) -> None:
    small = {"retention_ms": "3600000", "retention_bytes": "1048576"}
    topics = broker.create_all(cleanup_policy="compact,delete", **small)
    sentences = shortfalls(broker.cluster, topics, replication=3)
    assert [sentence.partition(": ")[0] for sentence in sentences].count(topics.lifecycle) == 1, (
        "clorad does not read it"
    )
    for name in (topics.feedback, topics.interactions):
        words = "\n".join(sentence for sentence in sentences if sentence.startswith(name))
        for part in ("1 of the 3 copies", "policy is compact,delete", "0.0417 days", "retention.bytes"):
            assert part in words
    forever = broker.create_all(cleanup_policy="compact", retention_ms="1")
    assert [
        sentence.partition(" is ")[0] for sentence in shortfalls(broker.cluster, forever, replication=1)
    ] == [
        f"{forever.feedback}: cleanup.policy",
        f"{forever.interactions}: cleanup.policy",
    ], "what is not deleted is kept for ever"


def test_topics_nobody_could_write_to_are_named(broker: Any) -> None:
    topics = broker.create_all(min_insync_replicas="2")
    sentences = shortfalls(broker.cluster, topics, replication=1)
    assert ["nothing can be acknowledged" in sentence for sentence in sentences] == [True] * 4


def test_one_broker_that_may_acknowledge_alone_is_named() -> None:
    kafka = FakeKafka()
    topics = kafka.create_all(replicas=3)
    sentences = shortfalls(kafka, topics, replication=3)
    assert ["on one broker alone" in sentence for sentence in sentences] == [True] * 4
    assert shortfalls(kafka, kafka.create_all(replicas=3, min_insync_replicas="2"), replication=3) == ()


def test_settings_that_are_not_told_are_not_taken_for_good_ones() -> None:
    kafka = FakeKafka()
    kafka.tells_settings = False
    with pytest.raises(SettingsUnknown):
        shortfalls(kafka, kafka.create_all(), replication=1)


def test_what_the_doctor_reads_of_a_cluster(broker: Any) -> None:
    topics = replace(broker.create_all(partitions=3, max_message_bytes="65536"), lifecycle="t-not-there")
    broker.send(topics.feedback, b"{}")
    group = f"g-{uuid.uuid4().hex[:8]}"
    assert read_cluster(broker.cluster, topics, group=group).group_rights is None, "nobody joined it yet"
    source = Source(broker.cluster, (topics.feedback,), group=group, instance=None, session_ms=6000)
    poll_until(lambda _: source.positions, source)
    report = read_cluster(broker.cluster, topics, group=group)
    source.close()
    by_name = {topic.name: topic for topic in report.topics}
    assert (report.brokers, set(by_name)) == (1, set(topics.retention_days()))
    assert by_name[topics.lifecycle].topic_id is None
    feedback = by_name[topics.feedback]
    assert (feedback.partitions, feedback.copies, feedback.is_denied) == (3, 1, False)
    assert feedback.rights is not None
    assert feedback.rights >= {"READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"}
    assert report.group_rights is not None
    assert "READ" in report.group_rights
    assert feedback.settings is not None
    assert feedback.settings["max.message.bytes"] == "65536"
    assert feedback.newest_s == pytest.approx(time.time(), abs=60.0)
    assert by_name[topics.interactions].newest_s is None, "it is empty"


def test_a_topic_made_again_has_another_id(broker: Any) -> None:
    topic = broker.create()
    topics = Topics(feedback=topic, interactions=topic, dead_letters=topic, lifecycle=topic)
    before = topic_state(broker.cluster, topics)[0].topic_id
    broker.delete(topic)
    until = time.monotonic() + WAIT_S
    while topic_state(broker.cluster, topics)[0].topic_id is not None:
        assert time.monotonic() < until
    broker.create_named(topic)
    assert topic_state(broker.cluster, topics)[0].topic_id not in (None, before)


def test_an_event_is_acknowledged_with_its_place(broker: Any, member: Any) -> None:
    topic = broker.create(partitions=1)
    producer = Producer(broker.cluster, ack_s_max=10.0)
    record = KafkaRecord(topic=topic, key=b"k", value=b"v", headers=(("a", b"1"), ("b", None)))
    sent = [producer.send(record).result(timeout=WAIT_S) for _ in range(2)]
    producer.close()
    assert [(record.topic, record.partition, record.offset) for record in sent] == [
        (topic, 0, 0),
        (topic, 0, 1),
    ]
    (batch, *_) = poll_until(bool, member(topic))
    assert tuple(batch.records[0].headers) == (("a", b"1"), ("b", b""))


def test_the_same_key_goes_to_the_same_partition(broker: Any) -> None:
    topic = broker.create(partitions=4)
    producer = Producer(broker.cluster)
    record = KafkaRecord(topic=topic, key=b"conversation-1", value=b"v")
    sent = [producer.send(record).result(timeout=WAIT_S) for _ in range(5)]
    producer.close()
    assert len({record.partition for record in sent}) == 1


def test_an_event_for_a_topic_that_is_not_there_is_not_acknowledged(broker: Any) -> None:
    producer = Producer(broker.cluster, ack_s_max=1.0)
    with pytest.raises(NotAcknowledged):
        producer.send(KafkaRecord(topic="t-nowhere", key=None, value=b"v")).result(timeout=WAIT_S)
    producer.close()


def test_a_closed_producer_takes_nothing(broker: Any) -> None:
    producer = Producer(broker.cluster)
    producer.close()
    with pytest.raises(TooManyWaiting):
        producer.send(KafkaRecord(topic="t", key=None, value=b"v"))


@pytest.mark.kafka
def test_a_topic_nobody_made_is_not_made_by_sending_to_it(own_broker: Callable[..., LocalBroker]) -> None:
    broker = RealKafka(own_broker(auto_create_topics_enable="true").bootstrap)
    producer = Producer(broker.cluster, ack_s_max=3.0)
    with pytest.raises(NotAcknowledged):
        producer.send(KafkaRecord(topic="t-mistyped", key=None, value=b"v")).result(timeout=WAIT_S)
    producer.close()
    source = Source(broker.cluster, ("t-mistyped",), group="g", instance=None, session_ms=6000)
    source.poll(frozenset(), wait_ms=1000, records_max=1)
    source.close()
    topics = Topics(feedback="t-mistyped", interactions="t-a", dead_letters="t-b", lifecycle="t-c")
    assert [topic.topic_id for topic in topic_state(broker.cluster, topics)] == [None] * 4


def _messages(topic: str, *values: bytes | None) -> list[OutboxMessage]:
    return [
        OutboxMessage(
            id=number,
            topic=topic,
            key=None,
            value=value,
            headers=(("clorad.dead.reason", b"empty"), ("x", b"y")),
        )
        for number, value in enumerate(values, start=1)
    ]


def test_the_outbox_is_sent_in_order_each_with_its_id(broker: Any, member: Any) -> None:
    topic = broker.create(partitions=1)
    publisher = Publisher(broker.cluster, "ledger-1", ack_s_max=10.0)
    assert publisher.send(_messages(topic, b"1", None, b"3")) == 3
    publisher.close()
    polled = poll_until(lambda polled: len(values_of(polled)) == 3, member(topic))
    assert values_of(polled) == [b"1", b"", b"3"]
    ids = [dict(record.headers)[MESSAGE_ID] for batch in polled for record in batch.records]
    assert ids == [b"ledger-1/1", b"ledger-1/2", b"ledger-1/3"]


def test_a_message_too_large_becomes_a_pointer_and_does_not_block_the_rest(broker: Any, member: Any) -> None:
    topic = broker.create(partitions=1)
    publisher = Publisher(broker.cluster, "ledger-1", ack_s_max=10.0)
    messages = _messages(topic, b"1", b"x" * (2 << 20), b"3")
    sent = publisher.send(messages)
    while sent < len(messages):
        sent += publisher.send(messages[sent:])
    publisher.close()
    polled = poll_until(lambda polled: len(values_of(polled)) == 3, member(topic))
    assert values_of(polled) == [b"1", b"", b"3"]
    pointer = [record for batch in polled for record in batch.records][1]
    assert {name for name, _ in pointer.headers} == {"clorad.dead.reason", MESSAGE_ID}


def test_without_its_topic_the_outbox_keeps_what_it_has(broker: Any) -> None:
    publisher = Publisher(broker.cluster, "ledger-1", ack_s_max=1.0)
    assert publisher.send(_messages("t-nowhere", b"1")) == 0
    publisher.close()


def test_a_cluster_that_is_away_is_the_worlds_fault_and_leaves_nothing_behind() -> None:
    kafka = FakeKafka()
    kafka.away = True
    threads = threading.active_count()
    for cluster in (kafka, Kafka(bootstrap_servers="127.0.0.1:1", options={}, bootstrap_ms_max=300)):
        for connect in (
            lambda made: made.consumer(group_id="g"),
            lambda made: made.producer(),
            lambda made: made.admin(),
        ):
            assert _is_away(connect, cluster)
    assert threading.active_count() == threads


def _is_away(connect, cluster) -> bool:
    try:
        connect(cluster)
    except (errors.KafkaError, OSError) as fault:
        return is_passing(fault)
    return False
