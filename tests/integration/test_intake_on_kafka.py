"""Intake against a real broker and a real ledger: nothing lost, nothing twice, whoever is killed."""

import json
import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition
from sqlalchemy import func, select

from feedback.topics import Topics
from ledger.schema import dead_letters, outbox
from tests.intake_process import IntakeProcess
from tests.kafka_broker import RealKafka
from tests.unit.feedback.said import CORRECTION, headers
from tests.unit.feedback.taking_in import Books, books, correct, until

pytestmark = pytest.mark.kafka


@pytest.fixture
def kept(tmp_path: Path) -> Books:
    return books(tmp_path)


@pytest.fixture
def start(kafka: RealKafka, kept: Books, tmp_path: Path) -> Iterator[Callable[..., IntakeProcess]]:
    """Starts intake processes of one group; none is left behind."""
    started: list[IntakeProcess] = []
    group = f"g-{uuid.uuid4().hex[:8]}"

    def run(topics: Topics, *, bootstrap: str = kafka.bootstrap, **given: Any) -> IntakeProcess:
        given["options"] = {"group": group} | given.get("options", {})
        log = tmp_path / f"intake-{len(started)}.log"
        started.append(IntakeProcess(bootstrap, kept.database.url, topics, log, **given))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        print(process.log.read_text())  # shown when the test fails


def _say_many(kafka: RealKafka, topic: str, number: int, *, partitions: int = 2, first: int = 0) -> set[str]:
    """Corrections, every tenth record of them a duplicate and every tenth poison. Returns the ids."""
    producer = kafka.cluster.producer(acks="all", linger_ms=5)
    ids, sent = set(), []
    try:
        for count in range(first, first + number):
            event_id = f"e-{count - 1 if count % 10 == 9 else count}"
            value = (
                b"{broken" if count % 10 == 5 else json.dumps(CORRECTION | {"corrected": event_id}).encode()
            )
            if count % 10 != 5:
                ids.add(event_id)
            given = [
                (name, octets) for name, octets in headers("correction", ce_id=event_id.encode()) if octets
            ]
            sent.append(producer.send(topic, value=value, headers=given, partition=count % partitions))
        for one in sent:
            one.get(timeout=30)
    finally:
        producer.close(timeout=10)
    return ids


def _is_complete(kept: Books, ids: set[str], broken: int) -> bool:
    return set(kept.ids()) == ids and len(kept.reasons()) == broken


def test_corrections_reach_the_ledger(kafka, kept, start):
    topics = kafka.create_all()
    start(topics)
    ids = {correct(kafka, topics.feedback, partition=number % 2) for number in range(5)}
    until(lambda: set(kept.ids()) == ids)
    kept.check_ranges()


@pytest.mark.parametrize("point", ["intake-polled", "intake-in-transaction", "intake-before-commit"])
def test_killed_at_any_point_nothing_is_lost_and_nothing_twice(kafka, kept, start, point):
    topics = kafka.create_all()
    ids = _say_many(kafka, topics.feedback, 400)
    for passes in (1, 2, 1):
        process = start(topics, failpoint=f"{point}:{passes}")
        assert process.wait() == -signal.SIGKILL
    start(topics)
    until(lambda: _is_complete(kept, ids, 40))
    kept.check_ranges()


def test_killed_again_and_again_while_events_keep_coming(kafka, kept, start):
    topics = kafka.create_all()
    ids, process = set(), start(topics)
    for round_ in range(6):
        ids |= _say_many(kafka, topics.feedback, 100, first=round_ * 100)
        seen = len(kept.ids())
        until(lambda seen=seen: len(kept.ids()) > seen)
        process.kill()
        process = start(topics)
    until(lambda: _is_complete(kept, ids, 60))
    kept.check_ranges()


def test_a_frozen_member_that_wakes_after_its_session_keeps_nothing_old(kafka, kept, start):
    topics = kafka.create_all()
    zombie = start(topics)
    ids = _say_many(kafka, topics.feedback, 100)
    until(lambda: _is_complete(kept, ids, 10))
    zombie.signal(signal.SIGSTOP)
    heir = start(topics)
    ids |= _say_many(kafka, topics.feedback, 200, first=100)
    until(lambda: _is_complete(kept, ids, 30))
    zombie.signal(signal.SIGCONT)
    ids |= _say_many(kafka, topics.feedback, 200, first=300)
    until(lambda: _is_complete(kept, ids, 50))
    assert zombie.ended is None
    assert heir.ended is None
    kept.check_ranges()


def test_what_was_aborted_is_never_kept_and_its_offsets_are_accounted_for(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "e1")
    kafka.abandon(topics.feedback, 20)
    correct(kafka, topics.feedback, "e2")
    start(topics)
    until(lambda: kept.next_offsets(topics.feedback) == {0: 23})
    assert kept.ids() == ["e1", "e2"]
    assert kept.reasons() == []
    kept.check_ranges()


def test_every_kind_of_broken_record_is_a_dead_letter_and_polling_goes_on(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    broken = (
        b"",
        b"\xff\xfe",
        b'{"agent":',
        b"[" * 5000 + b"]" * 5000,
        b'{"value": NaN}',
        b'{"n": ' + b"9" * 6000 + b"}",
        b'{"a": "\\u0000"}',
        b'{"a": 1, "a": 2}',
        b'"' + b"x" * 300_000 + b'"',
    )
    for value in broken:
        kafka.say(topics.feedback, value, headers=headers("correction"))
    kafka.say(topics.feedback, None, key=b"tombstone")
    kafka.say(
        topics.feedback, b"{}", headers=(("ce_id", b"\xff"), ("ce_id", b"1"), ("content-type", b"\xff"))
    )
    correct(kafka, topics.feedback, "after")
    start(topics)
    until(lambda: kept.ids() == ["after"])
    assert len(kept.reasons()) == len(broken) + 2
    kept.check_ranges()


def test_a_record_that_hangs_kafka_python_halts_its_partition_only(kafka, kept, start):
    topics = kafka.create_all(partitions=3)
    kafka.poison(topics.feedback, partition=1)
    correct(kafka, topics.feedback, "hidden", partition=1)
    process = start(topics)
    until(lambda: process.says("READY partitions False"))
    for number in range(6):
        correct(kafka, topics.feedback, f"e{number}", partition=(0, 2)[number % 2])
    until(lambda: kept.ids() == [f"e{number}" for number in range(6)])
    assert process.ended is None
    cpu_s = _cpu_s(process)
    time.sleep(2.0)
    assert _cpu_s(process) - cpu_s < 1.5, "poll spins"
    assert process.stop() == 0


def _cpu_s(process: IntakeProcess) -> float:
    fields = Path(f"/proc/{process._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_record_that_hangs_kafka_python_is_passed_over_if_the_operator_says_so(kafka, kept, start):
    topics = kafka.create_all(partitions=2)
    correct(kafka, topics.feedback, "before")
    poisoned = [kafka.poison(topics.feedback) for _ in range(3)]
    correct(kafka, topics.feedback, "after")
    start(topics, options={"on_gap": "continue"})
    until(lambda: kept.ids() == ["after", "before"])
    assert kept.column(select(dead_letters.c.offset).order_by(dead_letters.c.offset)) == poisoned
    assert kept.reasons() == ["poison"] * 3
    kept.check_ranges()


def test_retention_that_overtook_us_halts_or_is_a_recorded_gap(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    correct(kafka, topics.feedback, "e0")
    first = start(topics)
    until(lambda: kept.ids() == ["e0"])
    first.stop()
    for number in range(1, 6):
        correct(kafka, topics.feedback, f"e{number}")
    kafka.delete_records(topics.feedback, 0, 4)
    halted = start(topics)
    until(lambda: halted.says("READY partitions False"))
    assert kept.ids() == ["e0"]
    halted.stop()
    start(topics, options={"on_gap": "continue"})
    until(lambda: kept.ids() == ["e0", "e4", "e5"])
    kept.check_ranges()


def test_a_topic_made_again_is_not_read_at_the_old_offset(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    for number in range(3):
        correct(kafka, topics.feedback, f"old{number}")
    process = start(topics)
    until(lambda: len(kept.ids()) == 3)
    kafka.delete(topics.feedback)
    until(lambda: process.says("topic missing"))
    kafka.create_named(topics.feedback, 1)
    for number in range(5):
        correct(kafka, topics.feedback, f"new{number}")
    until(lambda: process.says("topic halted"))
    process.stop()
    assert kept.ids() == ["old0", "old1", "old2"]
    start(topics, options={"on_gap": "continue"})
    until(lambda: len(kept.ids()) == 8)
    kept.check_ranges()


def test_the_dead_letter_topic_gets_each_dead_letter_with_its_reason(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    start(topics, ships=True)
    kafka.say(topics.feedback, b"{broken", key=b"c-1", headers=headers("correction"))
    until(lambda: kept.column(select(func.count(outbox.c.sent_s)))[0] == 1)
    consumer = kafka.cluster.consumer(auto_offset_reset="earliest", group_id=None)
    consumer.assign([TopicPartition(topics.dead_letters, 0)])
    found: list[Any] = []
    until(
        lambda: bool(
            found.extend(one for some in consumer.poll(timeout_ms=200).values() for one in some) or found
        )
    )
    consumer.close()
    assert (found[0].key, found[0].value) == (b"c-1", b"{broken")
    told = dict(found[0].headers)
    assert told["clorad.dead.reason"] == b"invalid_json"
    assert told["ce_id"] == b"e-1"


def test_killed_between_sending_and_marking_the_outbox_repeats_one_id(kafka, kept, start):
    topics = kafka.create_all(partitions=1)
    kafka.say(topics.feedback, b"{broken", headers=headers("correction"))
    assert start(topics, ships=True, failpoint="outbox-before-mark").wait() == -signal.SIGKILL
    start(topics, ships=True)
    until(lambda: kept.column(select(func.count(outbox.c.sent_s)))[0] == 1)


def test_a_broker_that_restarts_is_waited_for(own_broker, kept, start):
    broker = own_broker()
    kafka = RealKafka(broker.bootstrap)
    topics = kafka.create_all()
    process = start(topics, bootstrap=broker.bootstrap)
    ids = _say_many(kafka, topics.feedback, 100)
    until(lambda: _is_complete(kept, ids, 10))
    broker.kill()
    until(lambda: process.says("READY kafka False"))
    broker.start()
    ids |= _say_many(kafka, topics.feedback, 100, first=100)
    until(lambda: _is_complete(kept, ids, 20), wait_s=60)
    assert process.ended is None
    kept.check_ranges()


def test_stopped_under_load_it_ends_in_bounded_time_and_loses_nothing(kafka, kept, start):
    topics = kafka.create_all()
    ids = _say_many(kafka, topics.feedback, 1000)
    process = start(topics)
    until(lambda: len(kept.ids()) > 50)
    begun = time.monotonic()
    assert process.stop() == 0
    assert time.monotonic() - begun < 15.0
    start(topics)
    until(lambda: _is_complete(kept, ids, 100))
    kept.check_ranges()


def test_the_group_of_another_ledger_is_refused(kafka, kept, start, tmp_path):
    topics = kafka.create_all()
    correct(kafka, topics.feedback, "e0")
    first = start(topics)
    until(lambda: kept.ids() == ["e0"])
    first.stop()
    (tmp_path / "other").mkdir()
    other = books(tmp_path / "other")
    kept.database.close()
    original, kept.database = kept.database, other.database
    stranger = start(topics)
    kept.database = original
    assert stranger.wait() == 78
    assert other.ids() == []
