"""What intake and outbox rely on of Kafka, run against the real broker and the fake alike."""

import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kafka import TopicPartition, errors

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
def stage(request: pytest.FixtureRequest) -> Any:
    return FakeKafka() if request.param == "fake" else request.getfixturevalue("kafka")


@pytest.fixture
def member(stage: Any) -> Iterator[Any]:
    """Makes members of this test's group."""
    group, made = f"g-{uuid.uuid4().hex[:8]}", []

    def join(*topics: str) -> Source:
        made.append(Source(stage.cluster, topics, group=group, instance=None, session_ms=6000))
        return made[-1]

    yield join
    for source in made:
        source.close()


def _until(done, *sources: Source, placed: dict | None = None) -> list:
    """Poll all sources in turn, placing what is new at `placed` (or 0), until `done`; what was polled."""
    polled, until = [], time.monotonic() + WAIT_S
    while not done(polled):
        assert time.monotonic() < until, "Kafka did not do it in time"
        for source in sources:
            for place in list(source.unplaced):
                source.read_from(place, (placed or {}).get(place, 0))
            for one in source.poll(frozenset(source.positions), wait_ms=100, records_max=100):
                source.positions[one.partition] = one.end
                polled.append(one)
    return polled


def stage_topics() -> Topics:
    """Names of this test's own."""
    fields = ("feedback", "interactions", "dead_letters", "lifecycle")
    return Topics(**{field: f"t-{uuid.uuid4().hex[:8]}" for field in fields})


def _values(polled: list) -> list[bytes]:
    return [record.value for one in polled for record in one.records]


def test_the_ends_of_a_topic_are_those_of_all_its_partitions_whoever_reads_them(stage, member):
    topic = stage.create(partitions=3)
    source, other = member(topic), member(topic)
    stage.send(topic, b"v", partition=1)
    stage.send_transaction(topic, 1, partition=2)
    _until(lambda _: source.positions and other.positions, source, other)
    for one in (source, other):
        assert one.ends(topic) == {0: 0, 1: 1, 2: 2}, "past what was aborted, and its marker"


def test_reading_begins_where_it_is_told(stage, member):
    topic = stage.create(partitions=2)
    for number in range(4):
        stage.send(topic, b"%d" % number)
    source = member(topic)
    polled = _until(lambda polled: len(_values(polled)) == 2, source, placed={TopicPartition(topic, 0): 2})
    assert _values(polled) == [b"2", b"3"]
    assert polled[0].start == 2
    assert source.positions == {TopicPartition(topic, 0): 4, TopicPartition(topic, 1): 0}


def test_nothing_is_read_before_it_is_placed(stage, member):
    topic = stage.create()
    stage.send(topic, b"x")
    source = member(topic)
    for _ in range(30):
        assert source.poll(frozenset(), wait_ms=100, records_max=10) == []
    assert source.unplaced == {TopicPartition(topic, 0), TopicPartition(topic, 1)}
    assert source.positions == {}


def test_a_member_hears_from_the_brokers(stage, member):
    topic = stage.create()
    stage.send(topic, b"x")
    source = member(topic)
    _until(bool, source)
    assert source.silent_s() < WAIT_S


def test_a_record_comes_as_it_was_sent(stage, member):
    topic = stage.create(partitions=1)
    stage.send(topic, b"\xff\x00", key=b"\xfe", headers=(("a", b"1"), ("a", b"\xff")))
    (one,) = _until(bool, member(topic))
    (record,) = one.records
    assert (record.offset, record.key, record.value) == (0, b"\xfe", b"\xff\x00")
    assert tuple(record.headers) == (("a", b"1"), ("a", b"\xff"))
    assert abs(record.timestamp / 1000 - time.time()) < WAIT_S


def test_a_tombstone_has_no_value(stage, member):
    topic = stage.create(partitions=1)
    stage.send(topic, None, key=b"k")
    (one,) = _until(bool, member(topic))
    assert one.records[0].value is None


def test_going_back_reads_the_same_again(stage, member):
    topic = stage.create(partitions=1)
    for number in range(3):
        stage.send(topic, b"%d" % number)
    source = member(topic)
    place = TopicPartition(topic, 0)
    _until(lambda _: place in source.positions, source)
    source.read_from(place, 0)
    first = _until(lambda polled: len(_values(polled)) == 3, source)
    source.positions[place] = 1
    source.rewind()
    again = _until(lambda polled: len(_values(polled)) == 2, source)
    assert _values(first)[1:] == _values(again)


def test_paused_partitions_are_not_read_and_lose_nothing(stage, member):
    topic = stage.create(partitions=2)
    for partition in (0, 1):
        stage.send(topic, b"%d" % partition, partition=partition)
    source = member(topic)
    one, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
    _until(lambda _: one in source.positions and other in source.positions, source)
    for place in (one, other):
        source.read_from(place, 0)
    alone = []
    for _ in range(20):
        alone += source.poll(frozenset({other}), wait_ms=100, records_max=10)
        source.positions.update({polled.partition: polled.end for polled in alone})
    assert _values(alone) == [b"1"]
    assert _values(_until(bool, source)) == [b"0"]


def test_positions_pass_aborted_records_and_markers(stage, member):
    topic = stage.create(partitions=1)
    stage.send(topic, b"before")
    stage.send_transaction(topic, 3)
    stage.send_transaction(topic, 1, commit=True)
    source = member(topic)
    place = TopicPartition(topic, 0)
    polled = _until(lambda _: source.positions.get(place) == 1 + 4 + 2, source)
    assert _values(polled) == [b"before", b"0"]
    assert source.bounds(place) == (0, 7)
    assert source.lag() == {place: 0}


def test_a_position_below_the_log_is_out_of_range(stage, member):
    topic = stage.create(partitions=1)
    for _ in range(5):
        stage.send(topic, b"x")
    stage.delete_records(topic, 0, 3)
    source = member(topic)
    with pytest.raises(OutOfRange) as complaint:
        _until(lambda _: False, source)
    assert complaint.value.partition == TopicPartition(topic, 0)
    assert source.bounds(TopicPartition(topic, 0)) == (3, 5)
    source.read_from(TopicPartition(topic, 0), 3)
    assert len(_values(_until(lambda polled: len(_values(polled)) == 2, source))) == 2


def test_a_position_above_the_log_is_out_of_range(stage, member):
    topic = stage.create(partitions=1)
    source = member(topic)
    with pytest.raises(OutOfRange):
        _until(lambda _: False, source, placed={TopicPartition(topic, 0): 9})


def test_what_cannot_be_decoded_is_complained_about_and_can_be_passed_over(stage, member):
    topic = stage.create(partitions=1)
    stage.send(topic, b"before")
    poison = stage.send_undecodable(topic)
    stage.send(topic, b"after")
    source, place, seen = member(topic), TopicPartition(topic, 0), []
    with pytest.raises(Undecodable):
        _until(lambda polled: seen.extend(polled[len(seen) :]), source)
    assert _values(seen) == [b"before"]
    assert source.positions[place] == poison
    source.read_from(place, poison + 1)
    assert _values(_until(bool, source)) == [b"after"]


def test_other_partitions_are_read_while_a_poisoned_one_is_paused(stage, member):
    topic = stage.create(partitions=2)
    stage.send_undecodable(topic)
    source, healthy = member(topic), TopicPartition(topic, 1)
    with pytest.raises(Undecodable):
        _until(lambda _: False, source)
    stage.send(topic, b"fine", partition=1)
    until, values = time.monotonic() + WAIT_S, []
    while not values and time.monotonic() < until:
        for one in source.poll(frozenset({healthy}), wait_ms=100, records_max=10):
            values += _values([one])
    assert values == [b"fine"]


def test_members_share_the_partitions_and_take_over_from_each_other(stage, member):
    topic = stage.create(partitions=4)
    first = member(topic)
    _until(lambda _: len(first.positions) == 4, first)
    second = member(topic)
    _until(lambda _: len(first.positions) == len(second.positions) == 2, first, second)
    assert not first.positions.keys() & second.positions.keys()
    first.close()
    _until(lambda _: len(second.positions) == 4, second)


def test_hints_carry_a_note_that_later_members_see(stage, member):
    topic = stage.create(partitions=1)
    stage.send(topic, b"x")
    source, place = member(topic), TopicPartition(topic, 0)
    _until(bool, source)
    assert source.committed(place) is None
    source.commit_and_wait("ledger-1")
    source.close()
    other = member(topic)
    _until(lambda _: place in other.positions, other)
    assert other.committed(place) == (1, "ledger-1")


def test_topics_are_created_once_and_described_by_id(stage):
    topics = stage_topics()
    names = topics.retention_days()
    assert [topic.topic_id for topic in topic_state(stage.cluster, topics)] == [None] * 4
    assert set(create(stage.cluster, topics, partitions=3, replication=1)) == set(names)
    assert create(stage.cluster, topics, partitions=3, replication=1) == ()
    described = topic_state(stage.cluster, topics)
    assert [topic.partitions for topic in described] == [3] * 4
    assert len({topic.topic_id for topic in described}) == 4


def test_topics_as_we_make_them_lack_nothing(stage):
    topics = stage_topics()
    create(stage.cluster, topics, partitions=1, replication=1)
    assert shortfalls(stage.cluster, topics, replication=1) == ()
    assert shortfalls(stage.cluster, stage.create_all(), replication=1) == (), "Kafka's own settings will do"


def test_settings_under_which_feedback_may_be_lost_are_named(stage):
    small = {"retention_ms": "3600000", "retention_bytes": "1048576"}
    topics = stage.create_all(cleanup_policy="compact,delete", **small)
    said = shortfalls(stage.cluster, topics, replication=3)
    assert [one.partition(": ")[0] for one in said].count(topics.lifecycle) == 1, "nobody of ours reads it"
    for name in (topics.feedback, topics.interactions):
        words = "\n".join(one for one in said if one.startswith(name))
        for part in ("1 of the 3 copies", "policy is compact,delete", "0.0417 days", "retention.bytes"):
            assert part in words
    forever = stage.create_all(cleanup_policy="compact", retention_ms="1")
    assert [one.partition(" is ")[0] for one in shortfalls(stage.cluster, forever, replication=1)] == [
        f"{forever.feedback}: cleanup.policy",
        f"{forever.interactions}: cleanup.policy",
    ], "what is not deleted is kept for ever"


def test_topics_nobody_could_write_to_are_named(stage):
    topics = stage.create_all(min_insync_replicas="2")
    said = shortfalls(stage.cluster, topics, replication=1)
    assert ["nothing can be acknowledged" in one for one in said] == [True] * 4


def test_one_broker_that_may_acknowledge_alone_is_named():
    kafka = FakeKafka()
    topics = kafka.create_all(replicas=3)
    said = shortfalls(kafka, topics, replication=3)
    assert ["on one broker alone" in one for one in said] == [True] * 4
    assert shortfalls(kafka, kafka.create_all(replicas=3, min_insync_replicas="2"), replication=3) == ()


def test_settings_that_are_not_told_are_not_taken_for_good_ones():
    kafka = FakeKafka()
    kafka.tells_settings = False
    with pytest.raises(SettingsUnknown):
        shortfalls(kafka, kafka.create_all(), replication=1)


def test_a_topic_made_again_has_another_id(stage):
    topic = stage.create()
    topics = Topics(feedback=topic, interactions=topic, dead_letters=topic, lifecycle=topic)
    before = topic_state(stage.cluster, topics)[0].topic_id
    stage.delete(topic)
    until = time.monotonic() + WAIT_S
    while topic_state(stage.cluster, topics)[0].topic_id is not None:
        assert time.monotonic() < until
    stage.create_named(topic)
    assert topic_state(stage.cluster, topics)[0].topic_id not in (None, before)


def test_an_event_is_acknowledged_with_its_place(stage, member):
    topic = stage.create(partitions=1)
    producer = Producer(stage.cluster, ack_s_max=10.0)
    record = KafkaRecord(topic=topic, key=b"k", value=b"v", headers=(("a", b"1"), ("b", None)))
    sent = [producer.send(record).result(timeout=WAIT_S) for _ in range(2)]
    producer.close()
    assert [(one.topic, one.partition, one.offset) for one in sent] == [(topic, 0, 0), (topic, 0, 1)]
    (one, *_) = _until(bool, member(topic))
    assert tuple(one.records[0].headers) == (("a", b"1"), ("b", b""))


def test_the_same_key_goes_to_the_same_partition(stage):
    topic = stage.create(partitions=4)
    producer = Producer(stage.cluster)
    record = KafkaRecord(topic=topic, key=b"conversation-1", value=b"v")
    sent = [producer.send(record).result(timeout=WAIT_S) for _ in range(5)]
    producer.close()
    assert len({one.partition for one in sent}) == 1


def test_an_event_for_a_topic_that_is_not_there_is_not_acknowledged(stage):
    producer = Producer(stage.cluster, ack_s_max=1.0)
    with pytest.raises(NotAcknowledged):
        producer.send(KafkaRecord(topic="t-nowhere", key=None, value=b"v")).result(timeout=WAIT_S)
    producer.close()


def test_a_closed_producer_takes_nothing(stage):
    producer = Producer(stage.cluster)
    producer.close()
    with pytest.raises(TooManyWaiting):
        producer.send(KafkaRecord(topic="t", key=None, value=b"v"))


@pytest.mark.kafka
def test_a_topic_nobody_made_is_not_made_by_sending_to_it(own_broker):
    stage = RealKafka(own_broker(auto_create_topics_enable="true").bootstrap)
    producer = Producer(stage.cluster, ack_s_max=3.0)
    with pytest.raises(NotAcknowledged):
        producer.send(KafkaRecord(topic="t-mistyped", key=None, value=b"v")).result(timeout=WAIT_S)
    producer.close()
    source = Source(stage.cluster, ("t-mistyped",), group="g", instance=None, session_ms=6000)
    source.poll(frozenset(), wait_ms=1000, records_max=1)
    source.close()
    topics = Topics(feedback="t-mistyped", interactions="t-a", dead_letters="t-b", lifecycle="t-c")
    assert [topic.topic_id for topic in topic_state(stage.cluster, topics)] == [None] * 4


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


def test_the_outbox_is_sent_in_order_each_with_its_id(stage, member):
    topic = stage.create(partitions=1)
    publisher = Publisher(stage.cluster, "ledger-1", ack_s_max=10.0)
    assert publisher.send(_messages(topic, b"1", None, b"3")) == 3
    publisher.close()
    polled = _until(lambda polled: len(_values(polled)) == 3, member(topic))
    assert _values(polled) == [b"1", b"", b"3"]
    ids = [dict(record.headers)[MESSAGE_ID] for one in polled for record in one.records]
    assert ids == [b"ledger-1/1", b"ledger-1/2", b"ledger-1/3"]


def test_a_message_too_large_becomes_a_pointer_and_does_not_block_the_rest(stage, member):
    topic = stage.create(partitions=1)
    publisher = Publisher(stage.cluster, "ledger-1", ack_s_max=10.0)
    messages = _messages(topic, b"1", b"x" * (2 << 20), b"3")
    sent = publisher.send(messages)
    while sent < len(messages):
        sent += publisher.send(messages[sent:])
    publisher.close()
    polled = _until(lambda polled: len(_values(polled)) == 3, member(topic))
    assert _values(polled) == [b"1", b"", b"3"]
    pointer = [record for one in polled for record in one.records][1]
    assert {name for name, _ in pointer.headers} == {"clorad.dead.reason", MESSAGE_ID}


def test_without_its_topic_the_outbox_keeps_what_it_has(stage):
    publisher = Publisher(stage.cluster, "ledger-1", ack_s_max=1.0)
    assert publisher.send(_messages("t-nowhere", b"1")) == 0
    publisher.close()


def test_a_cluster_that_is_away_is_the_worlds_fault_and_leaves_nothing_behind():
    kafka = FakeKafka()
    kafka.away = True
    threads = threading.active_count()
    for cluster in (kafka, Kafka(bootstrap_servers="127.0.0.1:1", bootstrap_ms_max=300)):
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
